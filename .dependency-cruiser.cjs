// Architecture rules: Xen's own boundaries turned into build rules. tools/architecture.mjs also checks that they bite.

/** The packages of shared/, the lowest first: each may use those before it. */
const floors = require('./tools/floors.json');
/** The rooms of load/src, the same way. */
const loadFloors = require('./tools/load-floors.json');

/** Each floor of a list uses of what is in `all` only those before it. */
const floorRules = (names, prefix, home, room, all) =>
  names.map((name, i) => [
    `${prefix}${name}`,
    `${home}${name} uses of ${all} only ${names.slice(0, i + 1).join(', ')}`,
    { path: `^${home}${name}/${room}` },
    { path: `^${all}/`, pathNot: `^${home}(${names.slice(0, i + 1).join('|')})/` },
  ]);

/** Name, why, who, may not import what. A string is a path, a list several. */
const rules = [
  ...floorRules(floors, 'floor-of-', 'shared/', '(src|testkit)/', '(shared|services|load|dashboards)'),
  ...floorRules(loadFloors, 'load-floor-of-', 'load/src/', '', 'load/src'),
  [
    'packages-have-doors',
    'index.ts says what is public of a package, its own test kit apart',
    '^(shared/[^/]+|services/[^/]+|load|dashboards)/',
    { path: '^shared/[^/]+/', pathNot: ['^$1/', '^shared/[^/]+/(src|testkit)/index[.]ts$'] },
  ],
  [
    'test-kits-are-for-tests',
    'what runs is tested as it is',
    { pathNot: '/(test|testkit|bench)/' },
    '^shared/[^/]+/testkit/',
  ],
  [
    'abi-imports-nothing',
    'layouts are facts; they depend on no code',
    '^shared/xen/src/abi/',
    { pathNot: '^shared/(xen/src/abi|base/src/(index|page))' },
  ],
  [
    'only-machine-uses-native-calls',
    'one place to audit, one to replace',
    { pathNot: '^shared/machine/src/mem/' },
    'node_modules/koffi',
  ],
  [
    'core-is-synchronous',
    'rings know nothing of sockets or logs',
    '^shared/(xen/src/(abi|ring|nicq)|frames/src|measure/src/receive)/|^shared/xen/src/(grant/grant-table|evtchn/event-side)',
    'node_modules/(fastify|ws|pino|prom-client)|^(node:)?(net|http|https|dgram|timers|child_process)$',
  ],
  [
    'tcp-core-is-synchronous',
    'the TCP/IP stack is driven: Node begins at its sockets',
    { path: '^shared/tcpip/src/', pathNot: '^shared/tcpip/src/socket/' },
    { dependencyTypes: ['core'] },
  ],
  [
    'data-knows-no-control',
    'control calls data, never the other way round',
    ['^services/[^/]+/src/data/', '^services/[^/]+/src/[^/]+/data/'],
    '/control/|node_modules/(fastify|ws|pino)',
  ],
  [
    'hardware-knows-no-far-end',
    'a NIC does not know who stands at the other end of its cable',
    '^services/nic/src/hardware/',
    '^services/nic/src/far-end/',
  ],
  [
    'services-are-isolated',
    'domains meet only through rings, grants, ports and the store',
    '^services/([^/]+)/',
    { path: '^services/', pathNot: '^services/$1/' },
  ],
  ['load-imports-no-service', 'the experimenter talks to services by processes and sockets', '^load/', '^services/'],
  ['dashboards-import-no-service', 'a window: it knows metric names, not code', '^dashboards/', '^(services|load)/'],
  [
    'no-circular',
    'neither code nor types: what two files need of each other is in a third, or they are one',
    {},
    { circular: true },
  ],
];
const pathOf = (place) => (typeof place === 'string' || Array.isArray(place) ? { path: place } : place);

module.exports = {
  forbidden: rules.map(([name, comment, from, to]) => ({
    name,
    comment,
    severity: 'error',
    from: pathOf(from),
    to: pathOf(to),
  })),
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
