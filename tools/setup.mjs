// Makes a fresh clone ready: dependencies as the lockfile says, then the compiler. Says each step with its time.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { NODE_NEEDED, nodeIsGood } from '../load/bin/node-range.mjs';

export const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** Ends with one clear line where this cannot run at all. */
export function requirePlatform() {
  if (!nodeIsGood(process.versions.node)) stop(`Node ${process.versions.node} does not do - install ${NODE_NEEDED}`);
  if (process.platform !== 'linux')
    stop(
      `this needs Linux (shared memory and FIFOs), not ${process.platform} - run it in a Linux container with Docker`,
    );
  if (!['x64', 'arm64'].includes(process.arch)) stop(`this needs x64 or arm64, not ${process.arch}`);
}

function stop(line) {
  process.stderr.write(`grantline: ${line}\n`);
  process.exit(2);
}

/** Runs one step; its output is shown only when it fails. */
export function step(title, command, args) {
  const started = Date.now();
  process.stdout.write(`${title} ... `);
  const done = spawnSync(command, args, { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  process.stdout.write(`${((Date.now() - started) / 1000).toFixed(1)} s\n`);
  if (done.status !== 0) {
    process.stdout.write(done.stdout ?? '');
    process.stderr.write(done.stderr ?? String(done.error ?? ''));
    stop(`"${[command, ...args].join(' ')}" failed - see above`);
  }
}

/** @returns a package of the lockfile that is not installed as it says; null: all are there.
 *  Dates say nothing: an install may have been broken off, or made without a part of it (NODE_ENV=production, omit=optional). */
export function missing(at = root) {
  const read = (name) => JSON.parse(readFileSync(join(at, name), 'utf8')).packages ?? {};
  let installed;
  try {
    installed = read('node_modules/.package-lock.json');
  } catch {
    return 'node_modules';
  }
  for (const [path, wanted] of Object.entries(read('package-lock.json'))) {
    if (!path.startsWith('node_modules/') || wanted.link || !isFor(wanted)) continue;
    if (installed[path]?.version !== wanted.version || !existsSync(join(at, path, 'package.json'))) return path;
  }
  return null;
}

/** Of what is optional, that which only a machine like this can use: a binary. */
const isFor = ({ optional, os, cpu, libc }) =>
  !optional || Boolean(os?.includes(process.platform) && cpu?.includes(process.arch) && (libc?.includes(LIBC) ?? true));
/** The C library of this Node, in npm's words. */
const LIBC = process.report.getReport().header.glibcVersionRuntime === undefined ? 'musl' : 'glibc';

/** npm as it was called, or the one beside this Node; else whatever the path has. */
function npm() {
  const { npm_execpath: called = '' } = process.env;
  const beside = join(dirname(process.execPath), '../lib/node_modules/npm/bin/npm-cli.js');
  const script = [called, beside].find((file) => basename(file) === 'npm-cli.js' && existsSync(file));
  return script === undefined ? ['npm'] : [process.execPath, script];
}

/** Installs what is missing, then builds (incremental). */
export function setup() {
  requirePlatform();
  // Root's domains have users of their own, who must be able to read what is installed and built.
  if (process.getuid?.() === 0) process.umask(process.umask() & ~0o055);
  if (missing() !== null) {
    const [command, ...args] = npm();
    // Whatever the environment leaves out: the compiler's types are dev dependencies, and koffi's binary is an optional one.
    step('installing dependencies (npm ci)', command, [
      ...args,
      'ci',
      '--include=dev',
      '--include=optional',
      '--no-audit',
      '--no-fund',
    ]);
    const still = missing();
    if (still !== null)
      stop(`npm ci has left out ${still} - look at npm's settings (npm config list), and at the disk`);
  }
  step('building (tsc -b)', process.execPath, [join(root, 'node_modules', 'typescript', 'bin', 'tsc'), '-b']);
}
