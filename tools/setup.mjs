// Makes a fresh clone ready, as deep as it is needed: dependencies as the lockfile says, the started form, the compiler. Says each step
// with its time.
import { execFile } from 'node:child_process';
import { existsSync, readFileSync, statSync, utimesSync } from 'node:fs';
import { createServer } from 'node:net';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { setTimeout as sleep } from 'node:timers/promises';
import { makeStartedForm, startedFormOf } from './started-form.mjs';
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

/** Runs one step; its output is shown only when it fails. What is said goes to stderr: stdout is the program's.
 *  @param {string} title @param {() => Promise<void>} work rejects with what is to be shown */
export async function step(title, work) {
  const started = Date.now();
  process.stderr.write(`${title} ... `);
  const failed = await work().then(
    () => null,
    (error) => error,
  );
  process.stderr.write(`${((Date.now() - started) / 1000).toFixed(1)} s\n`);
  if (failed !== null) stop(`${failed.message}\ngrantline: that step failed - see above`);
}

/** What ends us ends the step first: one that went on would no longer have the lock. */
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'];

/** @param {string} program @param {string[]} args @returns when it has ended well */
export const command = (program, args) =>
  new Promise((done, fail) => {
    const child = execFile(program, args, { cwd: root, maxBuffer: 64 << 20 }, (error, out, err) => {
      for (const signal of SIGNALS) process.off(signal, end);
      if (error === null) return done();
      fail(new Error(`${out}${err}\n${[program, ...args].join(' ')}: ${error.code ?? error.signal}`));
    });
    const end = (signal) => child.kill(signal);
    for (const signal of SIGNALS) process.on(signal, end);
  });

/** @param {string} at the repository @param {boolean} develop with what only tests and checks need
 *  @returns a package of the lockfile that is not installed as it says; null: all are there.
 *  Dates say nothing: an install may have been broken off, or made without a part of it (NODE_ENV=production, omit=optional). */
export function missing(at = root, develop = true) {
  const read = (name) => JSON.parse(readFileSync(join(at, name), 'utf8')).packages ?? {};
  let installed;
  try {
    installed = read('node_modules/.package-lock.json');
  } catch {
    return 'node_modules';
  }
  for (const [path, wanted] of Object.entries(read('package-lock.json'))) {
    if (!path.startsWith('node_modules/') || wanted.link || !isFor(wanted)) continue;
    if (!develop && (wanted.dev || wanted.devOptional)) continue;
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

/** Makes the tree ready for a start: what runs is installed, and transpiled.
 *  With `develop` also for work on it: what tests and checks need is installed, and the compiler has checked the types and written dist/.
 *  What is there already is only looked at, in some hundredths of a second and without a network. Of two at once in one tree, one works
 *  and the other waits.
 *  @returns the directory of the started form */
export async function setup({ develop = false } = {}) {
  requirePlatform();
  // Root's domains have users of their own, who must be able to read what is installed and built.
  if (process.getuid?.() === 0) process.umask(process.umask() & ~0o055);
  let form = startedFormOf(root);
  if (!develop && existsSync(form) && missing(root, false) === null) return used(form);
  const unlock = await lock();
  try {
    await install(develop);
    // Sources may change while somebody waits, installs or transpiles: the form is of those that there are now.
    for (form = startedFormOf(root); !existsSync(form); form = startedFormOf(root))
      await step('transpiling (esbuild)', () => makeStartedForm(root, form));
    if (develop)
      await step('building (tsc -b)', () =>
        command(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-b']),
      );
  } finally {
    unlock();
  }
  return used(form);
}

/** Marks a form as in use now, so that it is not the one that goes when there are many. @param {string} form @returns it */
function used(form) {
  try {
    utimesSync(form, new Date(), new Date());
  } catch {
    // Somebody else's, or a tree that is only to be read.
  }
  return form;
}

async function install(develop) {
  if (missing(root, develop) === null) return;
  // A start takes nothing away from somebody who works on it.
  const withDev = develop || existsSync(join(root, 'node_modules/typescript/package.json'));
  const [program, ...args] = npm();
  // Whatever the environment leaves out. The binaries of koffi and esbuild are optional dependencies. The lockfile says which release of
  // a package it has to be: what npm knows of it already needs no asking.
  const ci = [
    'ci',
    withDev ? '--include=dev' : '--omit=dev',
    '--include=optional',
    '--prefer-offline',
    '--no-audit',
    '--no-fund',
  ];
  await step(`installing dependencies (npm ci${withDev ? '' : ' --omit=dev'})`, () =>
    command(program, [...args, ...ci]),
  );
  const still = missing(root, develop);
  if (still !== null) stop(`npm ci has left out ${still} - look at npm's settings (npm config list), and at the disk`);
}

/** Waits until nobody else of this user sets this tree up, in this network namespace. The lock is a name of the kernel's, which goes with its holder, however that ends.
 *  @returns gives the lock back */
async function lock() {
  const { dev, ino } = statSync(root);
  for (let said = false; ; said = true) {
    const server = createServer();
    const isOurs = await new Promise((done) => {
      server
        .once('listening', () => done(true))
        .once('error', (error) => {
          if (error.code !== 'EADDRINUSE') stop(`the set-up cannot be locked: ${error.message}`);
          done(false);
        });
      server.listen(`\0grantline-setup-${process.getuid?.()}-${dev}-${ino}`);
    });
    if (isOurs) return () => server.close();
    if (!said) process.stderr.write('waiting for another set-up of this tree ...\n');
    await sleep(100);
  }
}
