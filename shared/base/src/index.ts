/** What everything else stands on: page and domain numbers, time and chance, settings, directories, gates of HTTP servers. Of the
 *  numbers and addresses all is public: they are facts. */
export { ManualClock, epochOfClock, nowNs, systemClock, type Clock, Rng } from './clock/clock.js';
export {
  CONFIGURATIONS,
  FACTOR_VALUES,
  changeFactors,
  configurationName,
  configurationNamed,
  configurationNames,
  factorKeys,
  parseFactor,
  sampleFactors,
  type Configuration,
  type ConfigurationName,
  type Factors,
  type ReadKey,
} from './config/factors.js';
export {
  FAULT_KINDS,
  MAX_DELAY_US,
  TAP_PLACE_FORM,
  TAP_PLACE_PATTERN,
  isTapName,
  netnsPath,
  parseFaults,
  parseRate,
  parseTapPlace,
  wrongFaults,
  type CableFaults,
  type FaultSettings,
  type TapPlace,
} from './config/option-values.js';
export * from './config/network.js';
export {
  MAX_IN_FLIGHT,
  RUN_PATH,
  SESSION_PATH,
  parseRun,
  parseSession,
  sessionAckPath,
  sessionText,
  type Run,
  type RunSettings,
  type SessionAt,
  type SessionStage,
} from './config/tool.js';
export {
  NotOursError,
  canonical,
  createFile,
  giveFile,
  openOwnDir,
  openOwnFile,
  readOwnFile,
  setDirMode,
  writeNewFile,
  type FileOwner,
  type OwnDir,
  usualDir,
} from './files/own-dir.js';
export { NAME_FORM, isBearer, isLoopback, refuseHost, refuseOrigin, type Gate } from './http/gate.js';
export {
  answerHeadAtOnce,
  addressToBind,
  limitListening,
  refuseUpgrade,
  asksForWebSocket,
  takeUpgrades,
} from './http/listening.js';
export * from './page.js';
export {
  above,
  availableMemory,
  buildInfo,
  endWithChannel,
  allowedCores,
  coreFor,
  startTimeOf,
  type Placement,
} from './process/process.js';
export { printable, printableLines, UndoStack, UsageError } from './process/failure.js';
