/** What every service is: environment, the hypervisor's client, HTTP, logs, sessions, and its end. */
export { startService } from './app.js';
export { readEnv, type ListenAddress, type RoleGroups, type ServiceEnv } from './env.js';
export { OPEN, createHttp, listenHttp, type HttpOptions, type ServiceHttp } from './http.js';
export { HypervisorClient } from './hypervisor/hypervisor-client.js';
export { Lifeline } from './lifeline.js';
export { createLog, createLogTo, type Log } from './log.js';
export type { Part } from './parts.js';
export { dropPrivileges } from './privileges.js';
export { PROOF_PATH, proofOf } from './proof.js';
export { Refusal, refuse } from './refusal.js';
export { addRecordRoutes, keepRecorded } from './recorded.js';
export { runMain } from './run-main.js';
export { SendControl, addSender } from './send-control.js';
export type { Keep } from './session-follower.js';
