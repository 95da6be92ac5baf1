// Architecture rules: Xen's own boundaries turned into build rules. tools/architecture.mjs also checks that they bite.

/** The packages of shared/, the lowest first: each may use those before it. */
const floors = require('./tools/floors.json');
/** The rooms of load/src, the same way. */
const loadFloors = require('./tools/load-floors.json');

module.exports = {
  forbidden: [
    ...floors.map((name, i) => ({
      name: `floor-of-${name}`,
      comment: `shared/${name} uses only ${floors.slice(0, i).join(', ') || 'what is not ours'}`,
      severity: 'error',
      from: { path: `^shared/${name}/(src|testkit)/` },
      to: { path: '^(shared|services|load|dashboards)/', pathNot: `^shared/(${floors.slice(0, i + 1).join('|')})/` },
    })),
    ...loadFloors.map((name, i) => ({
      name: `load-floor-of-${name}`,
      comment: `load/src/${name} uses of load's rooms only ${loadFloors.slice(0, i).join(', ') || 'itself'}`,
      severity: 'error',
      from: { path: `^load/src/${name}/` },
      to: { path: '^load/src/', pathNot: `^load/src/(${loadFloors.slice(0, i + 1).join('|')})/` },
    })),
    {
      name: 'packages-have-doors',
      comment: 'index.ts says what is public of a package, its own test kit apart',
      severity: 'error',
      from: { path: '^(shared/[^/]+|services/[^/]+|load|dashboards)/' },
      to: { path: '^shared/[^/]+/', pathNot: ['^$1/', '^shared/[^/]+/(src|testkit)/index[.]ts$'] },
    },
    {
      name: 'test-kits-are-for-tests',
      severity: 'error',
      from: { pathNot: '/(test|testkit|bench)/' },
      to: { path: '^shared/[^/]+/testkit/' },
    },
    {
      name: 'abi-imports-nothing',
      comment: 'layouts are facts; they depend on no code',
      severity: 'error',
      from: { path: '^shared/xen/src/abi/' },
      to: { pathNot: '^shared/(xen/src/abi|base/src/(index|page))' },
    },
    {
      name: 'only-machine-uses-native-calls',
      comment: 'one place to audit, one to replace',
      severity: 'error',
      from: { pathNot: '^shared/machine/src/mem/' },
      to: { path: 'node_modules/koffi' },
    },
    {
      name: 'core-is-synchronous',
      comment: 'rings know nothing of sockets or logs',
      severity: 'error',
      from: {
        path: '^shared/(xen/src/(abi|ring|nicq)|frames/src|measure/src/receive)/|^shared/xen/src/(grant/grant-table|evtchn/event-side)',
      },
      to: { path: 'node_modules/(fastify|ws|pino|prom-client)|^(node:)?(net|http|https|dgram|timers|child_process)$' },
    },
    {
      name: 'tcp-core-is-synchronous',
      comment: 'the TCP/IP stack is driven: Node begins at its sockets',
      severity: 'error',
      from: { path: '^shared/tcpip/src/', pathNot: '^shared/tcpip/src/socket/' },
      to: { dependencyTypes: ['core'] },
    },
    {
      name: 'data-knows-no-control',
      comment: 'control calls data, never the other way round',
      severity: 'error',
      from: { path: ['^services/[^/]+/src/data/', '^services/[^/]+/src/[^/]+/data/'] },
      to: { path: '/control/|node_modules/(fastify|ws|pino)' },
    },
    {
      name: 'hardware-knows-no-far-end',
      comment: 'a NIC does not know who stands at the other end of its cable',
      severity: 'error',
      from: { path: '^services/nic/src/hardware/' },
      to: { path: '^services/nic/src/far-end/' },
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
      name: 'no-circular',
      comment: 'neither code nor types: what two files need of each other is in a third, or they are one',
      severity: 'error',
      from: {},
      to: { circular: true },
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
