// Checks that the architecture rules bite: for each rule a module that breaks it is written to a scratch copy of the
// tree's shape, and dependency-cruiser must report it.
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { spawnSync } from 'node:child_process';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { root } from './setup.mjs';

const offences = {
  'abi-imports-nothing': ['shared/src/abi/bad.ts', "import '../mem/ok.js';", 'shared/src/mem/ok.ts'],
  'only-mem-uses-native-calls': ['shared/src/ring/bad.ts', "import koffi from 'koffi'; koffi;"],
  'core-is-synchronous': ['shared/src/ring/bad2.ts', "import 'node:net';"],
  'tcp-core-is-synchronous': ['shared/src/net/bad.ts', "import 'node:timers';"],
  'data-knows-no-control': [
    'services/nic/src/data/bad.ts',
    "import '../control/ok.js';",
    'services/nic/src/control/ok.ts',
  ],
  'services-are-isolated': ['services/guest/src/bad.ts', "import '../../nic/src/ok.js';", 'services/nic/src/ok.ts'],
  'load-imports-no-service': ['load/src/bad.ts', "import '../../services/nic/src/ok.js';", 'services/nic/src/ok.ts'],
  'dashboards-import-no-service': ['dashboards/src/bad.ts', "import '../../load/src/ok.js';", 'load/src/ok.ts'],
  'shared-imports-no-service': ['shared/src/frame/bad.ts', "import '../../../load/src/ok.js';", 'load/src/ok.ts'],
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
  for (const [path, text, target] of Object.values(offences)) {
    put(path, `${text}\nexport const bad = 1;\n`);
    if (target) put(target, 'export const ok = 1;\n');
  }
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
  const missing = Object.keys(offences).filter((rule) => !found.has(rule));
  if (missing.length > 0) {
    console.error(`rules that let their offence pass: ${missing.join(', ')}`);
    process.exitCode = 1;
  } else console.log(`${Object.keys(offences).length} rules bite`);
} finally {
  rmSync(dir, { recursive: true, force: true });
}
