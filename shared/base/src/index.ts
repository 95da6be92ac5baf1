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
export * from './config/option-values.js';
export * from './config/network.js';
export * from './config/tool.js';
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
export { availableMemory, buildInfo, endWithChannel, allowedCores, coreFor, startTimeOf } from './process/process.js';
export { printable, printableLines, UndoStack, UsageError } from './process/failure.js';
