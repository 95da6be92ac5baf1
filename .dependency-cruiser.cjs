// Architecture rules: Xen's own boundaries turned into build rules. tools/architecture.mjs also checks that they bite.
module.exports = {
  forbidden: [
    {
      name: 'abi-imports-nothing',
      comment: 'layouts are facts; they depend on no code',
      severity: 'error',
      from: { path: '^shared/src/abi' },
      to: { pathNot: '^shared/src/abi' },
    },
    {
      name: 'only-mem-uses-native-calls',
      comment: 'one place to audit, one to replace',
      severity: 'error',
      from: { pathNot: '^shared/src/mem' },
      to: { path: 'node_modules/koffi' },
    },
    {
      name: 'core-is-synchronous',
      comment: 'rings know nothing of sockets or logs',
      severity: 'error',
      from: {
        path: '^shared/src/(abi|ring|nicq|frame|stack)/|^shared/src/grant/grant-table|^shared/src/evtchn/event-page',
      },
      to: { path: 'node_modules/(fastify|ws|pino|prom-client)|^(node:)?(net|http|https|dgram|timers|child_process)$' },
    },
    {
      name: 'tcp-core-is-synchronous',
      comment: 'the TCP/IP stack is driven: Node begins at its streams',
      severity: 'error',
      from: { path: '^shared/src/net/', pathNot: '^shared/src/net/(stream|net-socket|net-error|driver)[.]ts$' },
      to: { dependencyTypes: ['core'] },
    },
    {
      name: 'data-knows-no-control',
      comment: 'control calls data, never the other way round',
      severity: 'error',
      from: { path: '^services/[^/]+/src/data' },
      to: { path: '/src/control/|node_modules/(fastify|ws|pino)' },
    },
    {
      name: 'services-are-isolated',
      comment: 'domains meet only through rings, grants, ports and the store',
      severity: 'error',
      from: { path: '^services/([^/]+)/' },
      to: { path: '^services/', pathNot: '^services/$1/' },
    },
    {
      name: 'load-imports-no-service',
      comment: 'the experimenter talks to services by processes and sockets',
      severity: 'error',
      from: { path: '^load/' },
      to: { path: '^services/' },
    },
    {
      name: 'dashboards-import-no-service',
      comment: 'a window: it knows metric names, not code',
      severity: 'error',
      from: { path: '^dashboards/' },
      to: { path: '^(services|load)/' },
    },
    {
      name: 'shared-imports-no-service',
      severity: 'error',
      from: { path: '^shared/' },
      to: { path: '^(services|load)/' },
    },
    {
      name: 'no-circular',
      comment: 'types may refer to each other, code may not',
      severity: 'error',
      from: {},
      to: { circular: true, viaOnly: { dependencyTypesNot: ['type-only'] } },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    exclude: { path: '(^|/)dist/' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.depcruise.json' },
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['import', 'require', 'node', 'default', 'types'],
    },
  },
};
