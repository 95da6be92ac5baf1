/** What everything else stands on: page and domain numbers, time and chance, settings, directories, gates of HTTP servers. */
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
  parseFaults,
  wrongFaults,
  type CableFaults,
  type FaultSettings,
  parseRate,
  TAP_PLACE_FORM,
  TAP_PLACE_PATTERN,
  isTapName,
  netnsPath,
  parseTapPlace,
  type TapPlace,
} from './config/option-values.js';
export {
  CHARGEN_PORT,
  DISCARD_PORT,
  ECHO_PORT,
  GENERATOR_IP,
  GENERATOR_MAC,
  NETWORK_PREFIX,
  OUTER_IP,
  OUTER_MAC,
  WEB_PORT,
} from './config/network.js';
export {
  MAX_IN_FLIGHT,
  RUN_PATH,
  parseRun,
  type Run,
  type RunSettings,
  SESSION_PATH,
  parseSession,
  sessionAckPath,
  sessionText,
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
export {
  DOMID_CONTROL,
  DOMID_DRIVER,
  DOMID_FIRST_RESERVED,
  DOMID_NIC,
  MAX_GUESTS,
  PAGE_SHIFT,
  PAGE_SIZE,
  domainName,
  parseDomId,
  type DomId,
  type Dpn,
  type GrantHandle,
  type Gref,
  type Pfn,
  type Port,
} from './page.js';
export { availableMemory, buildInfo, endWithChannel, allowedCores, coreFor, startTimeOf } from './process/process.js';
export { printable, printableLines, UndoStack, UsageError } from './process/failure.js';
