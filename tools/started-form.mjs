// The started form: what a start runs, and never anything that was made of other sources than today's. esbuild strips the types and joins
// the programs with what they import into few files, since a service of 900 modules takes half a second of CPU time to load. Nothing
// is checked here: that is the compiler's work, for tests (docs/adr/0027).
//
// It lies in .cache/started/KEY, with the paths that tsc gives: services/guest/dist/src/main.js. KEY is a hash of all that goes into it: a
// changed or a removed source, another branch, another release of a package is another key, and nothing stale can be found. A form
// appears whole, and is not changed any more: what runs keeps its own.
import { createHash } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

/** What is below services/. Each program is one file, and CommonJS: of joined files in ES modules hot loops cost more (docs/adr/0027).
 *  So none of them may await at its top. */
const SERVICES = [
  'services/hypervisor/src/main.ts',
  'services/driver-domain/src/main.ts',
  'services/nic/src/main.ts',
  'services/guest/src/main.ts',
  'services/guest/src/web/loopback.ts',
];
/** The others share chunks, and load only those that they come to. */
const TOOLS = [
  'shared/service/src/health-check.ts',
  'load/src/cli/main.ts',
  'load/src/bench/main.ts',
  'load/src/http/generator-main.ts',
  'load/src/bench/body-client-main.ts',
  'shared/machine/src/handover/handover-thread.ts',
];
/** The live page's script, for browsers; it finds uPlot beside it. */
const PAGE = 'load/page/main.ts';
/** Packages that stay what they are: a native one, and those that look for files of theirs. */
const EXTERNAL = ['koffi', '@fastify/swagger-ui', 'autocannon', 'uplot'];
/** What packages in CommonJS expect to have in an ES module. */
const COMMONJS = `import { createRequire as requireFrom } from 'node:module';
import { dirname as directoryOf } from 'node:path';
import { fileURLToPath as pathOf } from 'node:url';
const require = requireFrom(import.meta.url), __filename = pathOf(import.meta.url), __dirname = directoryOf(__filename);`;
/** What ES modules expect to have in CommonJS. */
const MODULE_URL = `const moduleUrl = require('node:url').pathToFileURL(__filename).href;`;
/** So many are kept besides those that run: for a branch that one comes back to. */
const KEPT = 3;
/** A command has imported its form, and nothing else says that it runs it. */
const RESTING_MS = 24 * 3600e3;

/** The file that tsc makes of a source, without its ending. */
const builtOf = (source) => source.replace(/\/(src|page)\//, '/dist/$1/').replace(/\.ts$/, '');
/** @param {string} program such as load/dist/src/bench/main.js @returns is it part of the form? */
export const isStarted = (program) => [...SERVICES, ...TOOLS].some((source) => `${builtOf(source)}.js` === program);
const formsOf = (root) => join(root, '.cache', 'started');

/** @param {string} dir @returns {string[]} its sources, those of tests left out */
function sourcesBelow(dir) {
  return readdirSync(dir, { withFileTypes: true }).flatMap((e) => {
    const path = join(dir, e.name);
    if (e.isDirectory()) return ['node_modules', 'dist', 'test', 'testkit'].includes(e.name) ? [] : sourcesBelow(path);
    return e.name.endsWith('.ts') ? [path] : [];
  });
}

/** @param {string} root the repository @returns where the form of its sources is to be, whether it is there or not */
export function startedFormOf(root) {
  const hash = createHash('sha256');
  const sources = ['shared', 'services', 'load'].flatMap((dir) => sourcesBelow(join(root, dir)));
  for (const file of [...sources.sort(), join(root, 'package-lock.json'), fileURLToPath(import.meta.url)]) {
    const text = readFileSync(file);
    hash.update(`${relative(root, file)}\0${text.length}\0`).update(text);
  }
  return join(formsOf(root), hash.digest('hex').slice(0, 16));
}

/** Makes the form that `startedFormOf` named, unless another did meanwhile, or its sources are others by now: then there is none. @param {string} root @param {string} form */
export async function makeStartedForm(root, form) {
  const { build, stop } = await import('esbuild');
  const draft = join(formsOf(root), `draft-${process.pid}`);
  rmSync(draft, { recursive: true, force: true });
  mkdirSync(draft, { recursive: true });
  const packages = readdirSync(join(root, 'shared')).filter((name) =>
    existsSync(join(root, 'shared', name, 'src/index.ts')),
  );
  const common = {
    ...{ absWorkingDir: root, outdir: draft, bundle: true, format: 'esm', logLevel: 'silent', legalComments: 'none' },
    // Traces name sources by it; their text is in the repository.
    ...{ sourcemap: true, sourcesContent: false },
    // Numbers that are constants stand where they are used, as the JIT has them in modules of their own.
    minifySyntax: true,
    tsconfigRaw: { compilerOptions: { target: 'ES2022', verbatimModuleSyntax: true } },
  };
  const entries = (sources) => sources.map((source) => ({ in: source, out: builtOf(source) }));
  try {
    const forNode = {
      ...common,
      ...{ platform: 'node', target: 'node20.19', external: EXTERNAL },
      alias: Object.fromEntries(packages.map((name) => [`@grantline/${name}`, `./shared/${name}/src/index.ts`])),
    };
    await build({
      ...{ ...forNode, entryPoints: entries(SERVICES), format: 'cjs' },
      ...{ banner: { js: MODULE_URL }, define: { 'import.meta.url': 'moduleUrl' } },
    });
    // All else is of type module, as the repository is.
    writeFileSync(join(draft, 'services/package.json'), '{"type":"commonjs"}');
    await build({
      ...{ ...forNode, entryPoints: entries(TOOLS), banner: { js: COMMONJS } },
      ...{ splitting: true, chunkNames: 'chunks/[name]-[hash]' },
    });
    await build({
      ...common,
      entryPoints: entries([PAGE]),
      platform: 'browser',
      target: 'es2022',
      external: ['./uplot.js'],
    });
    if (startedFormOf(root) !== form) return;
    // Whatever the directory was made for: users of domains pass through it.
    if (process.getuid?.() === 0)
      for (const dir of [join(root, '.cache'), formsOf(root)]) chmodSync(dir, statSync(dir).mode | 0o055);
    renameSync(draft, form);
  } catch (error) {
    // Two at once make the same.
    if (!existsSync(form)) throw error;
  } finally {
    rmSync(draft, { recursive: true, force: true });
    stop();
  }
  prune(root, form);
}

/** Removes old forms that nobody runs. @param {string} root @param {string} form stays */
function prune(root, form) {
  const commands = readdirSync('/proc').flatMap((pid) => {
    if (!/^\d+$/.test(pid)) return [];
    try {
      return [readFileSync(`/proc/${pid}/cmdline`, 'utf8')];
    } catch {
      // It has ended.
      return [];
    }
  });
  const isRun = (dir) => commands.some((line) => line.includes(`${dir}/`));
  const made = (dir) => statSync(dir, { throwIfNoEntry: false })?.mtimeMs ?? 0;
  const old = readdirSync(formsOf(root))
    .map((name) => join(formsOf(root), name))
    .filter((dir) => dir !== form && !isRun(dir) && made(dir) < Date.now() - RESTING_MS)
    .sort((a, b) => made(b) - made(a));
  for (const dir of old.slice(KEPT)) {
    try {
      rmSync(dir, { recursive: true, force: true });
    } catch {
      // Somebody else's.
    }
  }
}
