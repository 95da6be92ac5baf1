// Checks that the architecture rules bite: for each rule a module that breaks it is written to a scratch copy of the
// tree's shape, and dependency-cruiser must report it.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { spawnSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { root } from './setup.mjs';

/** @type {string[]} */
const floors = JSON.parse(readFileSync(join(root, 'tools', 'floors.json'), 'utf8'));
/** @type {string[]} */
const loadFloors = JSON.parse(readFileSync(join(root, 'tools', 'load-floors.json'), 'utf8'));
/** For each rule: a module, what it imports, and a module that is imported so. */
const offences = {
  ...Object.fromEntries(
    floors.map((name, i) => {
      const above = i + 1 < floors.length ? `shared/${floors[i + 1]}/src/ok.ts` : 'load/src/ok.ts';
      return [
        `floor-of-${name}`,
        [`shared/${name}/src/up.ts`, `import '../../../${above.replace('.ts', '.js')}';`, above],
      ];
    }),
  ),
  ...Object.fromEntries(
    loadFloors.map((name, i) => {
      const above = i + 1 < loadFloors.length ? `${loadFloors[i + 1]}/ok` : 'ok';
      return [`load-floor-of-${name}`, [`load/src/${name}/up.ts`, `import '../${above}.js';`, `load/src/${above}.ts`]];
    }),
  ),
  'packages-have-doors': [
    'services/nic/src/inside.ts',
    "import '../../../shared/xen/src/ring/ok.js';",
    'shared/xen/src/ring/ok.ts',
  ],
  'test-kits-are-for-tests': [
    'shared/xen/src/kit.ts',
    "import '../../machine/testkit/index.js';",
    'shared/machine/testkit/index.ts',
  ],
  'abi-imports-nothing': ['shared/xen/src/abi/bad.ts', "import '../ring/ok.js';", 'shared/xen/src/ring/ok.ts'],
  'only-machine-uses-native-calls': ['shared/xen/src/ring/bad.ts', "import koffi from 'koffi'; koffi;"],
  'core-is-synchronous': ['shared/xen/src/ring/bad2.ts', "import 'node:net';"],
  'tcp-core-is-synchronous': ['shared/tcpip/src/tcp/bad.ts', "import 'node:timers';"],
  'data-knows-no-control': [
    'services/nic/src/hardware/data/bad.ts',
    "import '../control/ok.js';",
    'services/nic/src/hardware/control/ok.ts',
  ],
  'hardware-knows-no-far-end': [
    'services/nic/src/hardware/data/far.ts',
    "import '../../far-end/data/ok.js';",
    'services/nic/src/far-end/data/ok.ts',
  ],
  'services-are-isolated': ['services/guest/src/bad.ts', "import '../../nic/src/ok.js';", 'services/nic/src/ok.ts'],
  'load-imports-no-service': ['load/src/bad.ts', "import '../../services/nic/src/ok.js';", 'services/nic/src/ok.ts'],
  'dashboards-import-no-service': ['dashboards/src/bad.ts', "import '../../load/src/ok.js';", 'load/src/ok.ts'],
  // Types alone are enough.
  'no-circular': [
    'load/src/one.ts',
    "import type { ok } from './two.js'; export type Ok = typeof ok;",
    'load/src/two.ts',
    "import type { bad } from './one.js'; export type Bad = typeof bad;",
  ],
};
const dir = mkdtempSync(join(tmpdir(), 'grantline-architecture-'));
const put = (path, text) => {
  mkdirSync(dirname(join(dir, path)), { recursive: true });
  writeFileSync(join(dir, path), text);
};
try {
  symlinkSync(join(root, 'node_modules'), join(dir, 'node_modules'));
  for (const name of ['tsconfig.base.json', 'tsconfig.depcruise.json'])
    put(name, '{"compilerOptions":{"module":"NodeNext","moduleResolution":"NodeNext"}}');
  put('package.json', '{"type":"module"}');
  for (const [path, text, target, back = ''] of Object.values(offences)) {
    put(path, `${text}\nexport const bad = 1;\n`);
    if (target) put(target, `${back}\nexport const ok = 1;\n`);
  }
  // The rules read it beside themselves.
  put('tools/floors.json', JSON.stringify(floors));
  const done = spawnSync(
    join(root, 'node_modules', '.bin', 'depcruise'),
    [
      '--config',
      join(root, '.dependency-cruiser.cjs'),
      '--output-type',
      'json',
      'shared',
      'services',
      'load',
      'dashboards',
    ],
    { cwd: dir, encoding: 'utf8', maxBuffer: 1 << 26 },
  );
  const found = new Set(JSON.parse(done.stdout).summary.violations.map((v) => v.rule.name));
  const rules = createRequire(import.meta.url)('../.dependency-cruiser.cjs').forbidden.map((rule) => rule.name);
  const untried = rules.filter((rule) => !(rule in offences));
  if (untried.length > 0) throw new Error(`rules without an offence: ${untried.join(', ')}`);
  const missing = Object.keys(offences).filter((rule) => !found.has(rule));
  if (missing.length > 0) {
    console.error(`rules that let their offence pass: ${missing.join(', ')}`);
    process.exitCode = 1;
  } else console.log(`${Object.keys(offences).length} rules bite`);
} finally {
  rmSync(dir, { recursive: true, force: true });
}
