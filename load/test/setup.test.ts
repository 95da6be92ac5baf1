import { execFile, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import t from 'tap';
import { REPOSITORY } from '../src/testbed/paths.js';

const home = mkdtempSync(join(tmpdir(), 'grantline-setup-'));
t.teardown(() => rmSync(home, { recursive: true, force: true }));

const { missing } = (await import(pathToFileURL(join(REPOSITORY, 'tools/setup.mjs')).href)) as {
  missing: (at?: string, develop?: boolean) => string | null;
};
const { makeStartedForm, startedFormOf } = (await import(
  pathToFileURL(join(REPOSITORY, 'tools/started-form.mjs')).href
)) as {
  startedFormOf: (root: string) => string;
  makeStartedForm: (root: string, form: string) => Promise<void>;
};
const range = (await import(pathToFileURL(join(REPOSITORY, 'load/bin/node-range.mjs')).href)) as {
  NODE_RANGE: string;
  nodeIsGood: (version: string) => boolean;
};

t.test('an install is believed when every package is there that the lockfile wants here, whatever its date', (t) => {
  const here = { os: [process.platform], cpu: [process.arch], optional: true, version: '1.0.0' };
  const wanted = {
    '': { name: 'x' },
    'shared/base': { version: '0.1.0' },
    'node_modules/a': { version: '1.0.0' },
    'node_modules/types': { version: '1.0.0', dev: true },
    'node_modules/binary': here,
    'node_modules/elsewhere': { ...here, os: ['win32'] },
    'node_modules/other-libc': { ...here, libc: ['neither'] },
    'node_modules/extra': { version: '1.0.0', optional: true },
    'node_modules/@grantline/base': { link: true },
  };
  const put = (packages: object): void => {
    rmSync(join(home, 'node_modules'), { recursive: true, force: true });
    for (const path of Object.keys(packages)) {
      if (!path.startsWith('node_modules/')) continue;
      mkdirSync(join(home, path), { recursive: true });
      writeFileSync(join(home, path, 'package.json'), '{}');
    }
    mkdirSync(join(home, 'node_modules'), { recursive: true });
    writeFileSync(join(home, 'node_modules/.package-lock.json'), JSON.stringify({ packages }));
  };
  writeFileSync(join(home, 'package-lock.json'), JSON.stringify({ packages: wanted }));
  t.equal(missing(home), 'node_modules', 'a fresh clone');
  const without = (...names: string[]): object =>
    Object.fromEntries(Object.entries(wanted).filter(([name]) => !names.includes(name)));
  const others = ['node_modules/elsewhere', 'node_modules/other-libc', 'node_modules/extra'];
  const all = without(...others);
  put(all);
  t.equal(missing(home), null);
  for (const path of ['node_modules/a', 'node_modules/types', 'node_modules/binary']) {
    put(without(...others, path));
    t.equal(missing(home), path, `${path} was left out`);
  }
  put(without(...others, 'node_modules/types'));
  t.equal(missing(home, false), null, 'a start needs nothing of what only work on it needs');
  put(without(...others, 'node_modules/binary'));
  t.equal(missing(home, false), 'node_modules/binary', 'and all that runs');
  put(all);
  rmSync(join(home, 'node_modules/a'), { recursive: true });
  t.equal(missing(home), 'node_modules/a', 'it was removed');
  put({ ...all, 'node_modules/a': { version: '0.9.0' } });
  t.equal(missing(home), 'node_modules/a', 'it is another release');
  put(all);
  writeFileSync(join(home, 'node_modules/.package-lock.json'), '{"packages":');
  t.equal(missing(home), 'node_modules', 'an install that was broken off');
  t.end();
});

t.test('a start has a form of its own for whatever its sources are: changed, removed, moved, or as they were', (t) => {
  const root = join(home, 'tree');
  const put = (file: string, text: string): void => {
    mkdirSync(join(root, file, '..'), { recursive: true });
    writeFileSync(join(root, file), text);
  };
  for (const file of ['shared/base/src/a.ts', 'services/nic/src/main.ts', 'load/src/b.ts', 'load/page/main.ts'])
    put(file, `export const at = '${file}';`);
  put('package-lock.json', '{}');
  const first = startedFormOf(root);
  const seen = new Set([first]);
  const isNew = (what: string): void => {
    const form = startedFormOf(root);
    t.notOk(seen.has(form), what);
    seen.add(form);
  };
  put('shared/base/src/a.ts', 'export const at = 0;');
  isNew('a changed source');
  rmSync(join(root, 'load/src/b.ts'));
  isNew('a removed one');
  put('load/src/c.ts', "export const at = 'load/src/b.ts';");
  isNew('the same text in another file');
  put('package-lock.json', '{"packages":{}}');
  isNew('other packages');
  put('load/page/main.ts', '');
  isNew('the page');
  for (const file of ['shared/base/src/a.ts', 'load/src/b.ts', 'load/page/main.ts'])
    put(file, `export const at = '${file}';`);
  rmSync(join(root, 'load/src/c.ts'));
  put('package-lock.json', '{}');
  put('shared/base/test/a.test.ts', 'what a test says');
  put('shared/base/dist/src/a.js', 'what the compiler left');
  t.equal(startedFormOf(root), first, 'back again; tests and what was built are no part of it');
  t.end();
});

t.test('a form whose sources have changed while it was made is not kept', async (t) => {
  const other = join(startedFormOf(REPOSITORY), '..', '0123456789abcdef');
  await makeStartedForm(REPOSITORY, other);
  t.notOk(existsSync(other));
  t.same(
    readdirSync(join(other, '..')).filter((name) => name === `draft-${process.pid}`),
    [],
  );
});

t.test('a set-up that is ended ends the step that it waits for', async (t) => {
  const tools = pathToFileURL(join(REPOSITORY, 'tools/setup.mjs')).href;
  const step = 'setInterval(() => {}, 1000)';
  const code = `const { command } = await import(${JSON.stringify(tools)});
    const failed = await command(process.execPath, ['-e', ${JSON.stringify(`require('node:fs').writeFileSync(process.argv[1], String(process.pid)); ${step}`)}, process.argv[1]]).catch((e) => e);
    console.log(failed.message);`;
  const file = join(home, 'step');
  const run = spawn(process.execPath, ['--input-type=module', '-e', code, file], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let said = '';
  run.stdout.on('data', (text: Buffer) => (said += text.toString()));
  while (!existsSync(file) || readFileSync(file, 'utf8') === '') await new Promise((done) => setTimeout(done, 10));
  run.kill('SIGTERM');
  await once(run, 'close');
  t.match(said, /SIGTERM\n$/);
  t.throws(() => process.kill(Number(readFileSync(file, 'utf8')), 0), { code: 'ESRCH' });
});

t.test('two that set one tree up at once take turns, and find it ready, to be put elsewhere too', async (t) => {
  const tools = pathToFileURL(join(REPOSITORY, 'tools/setup.mjs')).href;
  const code = `const { setup } = await import(${JSON.stringify(tools)}); console.log(await setup());`;
  const one = (): Promise<string> =>
    new Promise((done, fail) => {
      execFile(process.execPath, ['--input-type=module', '-e', code], (error, out, err) =>
        error === null ? done(out.trim()) : fail(new Error(err)),
      );
    });
  const [a, b] = await Promise.all([one(), one()]);
  t.equal(a, b);
  t.ok(existsSync(join(a, 'services/guest/dist/src/main.js')));

  // As in an image: below a package.json of type module.
  const image = join(home, 'image');
  cpSync(join(a, 'services'), join(image, 'services'), { recursive: true });
  writeFileSync(join(image, 'package.json'), '{"type":"module"}');
  symlinkSync(join(REPOSITORY, 'node_modules'), join(image, 'node_modules'));
  for (const kind of ['driver-domain', 'nic', 'guest']) {
    const run = spawnSync(process.execPath, [join(image, `services/${kind}/dist/src/main.js`)], { env: {} });
    t.match(run.stderr.toString(), new RegExp(`^grantline ${kind}: set either .*\\n$`), kind);
    t.equal(run.status, 2);
  }
});

t.test('the releases of Node that are refused are those that package.json does not name', (t) => {
  const shared = readdirSync(join(REPOSITORY, 'shared'))
    .map((name) => `shared/${name}/package.json`)
    .filter((file) => existsSync(join(REPOSITORY, file)));
  for (const file of ['package.json', 'load/package.json', ...shared, 'services/guest/package.json'])
    t.equal(
      (JSON.parse(readFileSync(join(REPOSITORY, file), 'utf8')) as { engines: { node: string } }).engines.node,
      range.NODE_RANGE,
      file,
    );
  for (const good of ['20.19.0', '20.99.1', '22.2.0', '22.12.0', '23.0.0', '24.0.0', '26.10.0', process.versions.node])
    t.ok(range.nodeIsGood(good), good);
  for (const bad of ['18.20.0', '20.18.3', '21.7.3', '22.0.0', '22.1.0']) t.notOk(range.nodeIsGood(bad), bad);
  t.end();
});

t.test('the command runs where others keep nothing: no home, another directory, a strange language, no PATH', (t) => {
  const r = spawnSync(process.execPath, [join(REPOSITORY, 'load/bin/grantline.mjs'), 'doctor'], {
    cwd: home,
    env: { LC_ALL: 'de_DE.ISO-8859-1', TMPDIR: '/nonexistent', GRANTLINE_DIR: join(home, 'bed') },
    encoding: 'utf8',
  });
  t.match(r.stdout, /^ok {4} Linux/m);
  t.equal(r.stderr, '');
  t.end();
});

t.test('where too few files may be open the command says so in one line, and works where Node needs no more', (t) => {
  const line = `ulimit -n 64; exec "${process.execPath}" "${join(REPOSITORY, 'load/bin/grantline.mjs')}" --help`;
  const r = spawnSync('sh', ['-c', line], { encoding: 'utf8' });
  // Node 20 opens all modules at once, Node 26 one after the other.
  const refusal = 'grantline: may open too few files at once (EMFILE) - raise the limit: ulimit -n 1024\n';
  t.same([r.status, r.stderr], r.status === 0 ? [0, ''] : [2, refusal]);
  t.match(r.stdout, r.status === 0 ? /^Usage: grantline / : /^$/);
  t.end();
});

t.test('what a fresh clone runs first needs nothing that is installed', (t) => {
  const seen = new Set<string>();
  const look = (file: string): void => {
    if (seen.has(file)) return;
    seen.add(file);
    for (const [, from] of readFileSync(join(REPOSITORY, file), 'utf8').matchAll(
      /^(?:import|\}) [^;]*?from '([^']+)'/gm,
    )) {
      t.match(from, /^node:|^\.\.?\//, `${file} imports ${from}`);
      if (from.startsWith('.')) look(join(file, '..', from));
    }
  };
  for (const tool of ['run', 'test', 'check', 'grafana-check/judge', 'started-form']) look(`tools/${tool}.mjs`);
  look('load/bin/grantline.mjs');
  t.ok(seen.has('tools/setup.mjs'));
  t.end();
});
