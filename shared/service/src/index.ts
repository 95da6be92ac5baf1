/** What every service is: environment, the hypervisor's client, HTTP, logs, sessions, and its end. */
export { startService, type Part } from './app.js';
export { readEnv, type ListenAddress, type RoleGroups, type ServiceEnv } from './env.js';
export { OPEN, createHttp, listenHttp, type HttpOptions, type ServiceHttp, PROOF_PATH, proofOf } from './http.js';
export { HypervisorClient } from './hypervisor/hypervisor-client.js';
export { Lifeline, runMain } from './lifeline.js';
export { createLog, createLogTo, type Log } from './log.js';
export { dropPrivileges } from './privileges.js';
export { Refusal, refuse } from './refusal.js';
export { addRecordRoutes, keepRecorded } from './recorded.js';
export { SendControl, addSender } from './send-control.js';
export type { Keep } from './session-follower.js';
