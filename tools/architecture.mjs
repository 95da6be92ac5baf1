// Checks that the architecture rules bite: for each rule a module that breaks it is written to a scratch copy of the
// tree's shape, and dependency-cruiser must report it.
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { spawnSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { root } from './setup.mjs';

const require = createRequire(import.meta.url);
const { forbidden } = require('../.dependency-cruiser.cjs');
/** @type {string[]} */
const floors = require('./floors.json');
/** @type {string[]} */
const loadFloors = require('./load-floors.json');

/** On each floor a module that uses the next one; on the top one what is above all. */
const climbs = (names, prefix, module, top) =>
  names.map((name, i) => [
    prefix + name,
    [module(name, 'up'), i + 1 < names.length ? module(names[i + 1], 'ok') : top],
  ]);

/** For each rule: a module that breaks it, and what that imports: a module of ours, which is made, or a package. */
const offences = {
  ...Object.fromEntries(climbs(floors, 'floor-of-', (name, file) => `shared/${name}/src/${file}.ts`, 'load/src/ok.ts')),
  ...Object.fromEntries(
    climbs(loadFloors, 'load-floor-of-', (name, file) => `load/src/${name}/${file}.ts`, 'load/src/ok.ts'),
  ),
  'packages-have-doors': ['services/nic/src/inside.ts', 'shared/xen/src/ring/ok.ts'],
  'test-kits-are-for-tests': ['shared/xen/src/kit.ts', 'shared/machine/testkit/index.ts'],
  'abi-imports-nothing': ['shared/xen/src/abi/bad.ts', 'shared/xen/src/ring/ok.ts'],
  'only-machine-uses-native-calls': ['shared/xen/src/ring/bad.ts', 'koffi'],
  'core-is-synchronous': ['shared/xen/src/ring/bad2.ts', 'node:net'],
  'tcp-core-is-synchronous': ['shared/tcpip/src/tcp/bad.ts', 'node:timers'],
  'data-knows-no-control': ['services/nic/src/hardware/data/bad.ts', 'services/nic/src/hardware/control/ok.ts'],
  'hardware-knows-no-far-end': ['services/nic/src/hardware/data/far.ts', 'services/nic/src/far-end/data/ok.ts'],
  'services-are-isolated': ['services/guest/src/bad.ts', 'services/nic/src/ok.ts'],
  'load-imports-no-service': ['load/src/bad.ts', 'services/nic/src/ok.ts'],
  'dashboards-import-no-service': ['dashboards/src/bad.ts', 'load/src/ok.ts'],
  'no-circular': ['load/src/one.ts', 'load/src/two.ts'],
};
const dir = mkdtempSync(join(tmpdir(), 'grantline-architecture-'));
/** @param {string} path of a module @param {string} target what it imports */
const importOf = (path, target) =>
  target.endsWith('.ts')
    ? `import '${relative(dirname(path), target)
        .replace(/^(?=[^.])/, './')
        .replace('.ts', '.js')}';`
    : `import * as it from '${target}'; it;`;
const put = (path, text) => {
  mkdirSync(dirname(join(dir, path)), { recursive: true });
  writeFileSync(join(dir, path), text);
};
try {
  symlinkSync(join(root, 'node_modules'), join(dir, 'node_modules'));
  for (const name of ['tsconfig.base.json', 'tsconfig.depcruise.json'])
    put(name, '{"compilerOptions":{"module":"NodeNext","moduleResolution":"NodeNext"}}');
  put('package.json', '{"type":"module"}');
  for (const [path, target] of Object.values(offences)) {
    put(path, `${importOf(path, target)}\nexport const bad = 1;\n`);
    if (target.endsWith('.ts')) put(target, 'export const ok = 1;\n');
  }
  // Types alone make a circle.
  put('load/src/one.ts', "import type { ok } from './two.js'; export type Ok = typeof ok; export const bad = 1;");
  put('load/src/two.ts', "import type { bad } from './one.js'; export type Bad = typeof bad; export const ok = 1;");
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
  if (!done.stdout) console.error(done.stderr);
  const found = new Set(JSON.parse(done.stdout).summary.violations.map((v) => v.rule.name));
  const rules = forbidden.map((rule) => rule.name);
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
