/** What everything else stands on: page and domain numbers, time and chance, settings, directories, gates of HTTP servers. */
export { ManualClock, epochOfClock, nowNs, systemClock, type Clock } from './clock/clock.js';
export { Rng } from './clock/rng.js';
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
} from './config/faults.js';
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
export { parseRate } from './config/rate.js';
export { MAX_IN_FLIGHT, RUN_PATH, parseRun, type Run, type RunSettings } from './config/run.js';
export {
  SESSION_PATH,
  parseSession,
  sessionAckPath,
  sessionText,
  type SessionAt,
  type SessionStage,
} from './config/session.js';
export {
  TAP_PLACE_FORM,
  TAP_PLACE_PATTERN,
  isTapName,
  netnsPath,
  parseTapPlace,
  type TapPlace,
} from './config/tap-place.js';
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
  type OwnDir,
} from './files/own-dir.js';
export { usualDir } from './files/runtime-dir.js';
export { NAME_FORM, isBearer, isLoopback, refuseHost, refuseOrigin, type Gate } from './http/gate.js';
export { answerHeadAtOnce } from './http/head.js';
export { addressToBind, limitListening, refuseUpgrade } from './http/listening.js';
export { asksForWebSocket, takeUpgrades } from './http/upgrade.js';
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
export { availableMemory } from './process/available.js';
export { buildInfo } from './process/build-info.js';
export { endWithChannel } from './process/channel-child.js';
export { allowedCores, coreFor } from './process/placement.js';
export { printable, printableLines } from './process/printable.js';
export { startTimeOf } from './process/process-start.js';
export { UndoStack } from './process/undo-stack.js';
export { UsageError } from './process/usage-error.js';
