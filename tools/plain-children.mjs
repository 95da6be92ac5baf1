// Loaded into each test process, behind tap's own parts. Tap adds a loader to every process that a test starts, and to those that
// it starts in turn, to learn for coverage what they load. We take no coverage; and the command and the services are to run in
// tests as they do elsewhere: with the loader each takes half a second longer to start.
const hook = globalThis[Symbol.for('process-on-spawn@*:singletonId')];
if (hook !== undefined) hook.listeners.length = 0;
if (process.env.NODE_OPTIONS?.includes('@tapjs')) delete process.env.NODE_OPTIONS;
