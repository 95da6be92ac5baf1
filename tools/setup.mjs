// Makes a fresh clone ready: dependencies as the lockfile says, then the compiler. Says each step with its time.
import { spawnSync } from 'node:child_process';
import { existsSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** Ends with one clear line where this cannot run at all. */
export function requirePlatform() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major < 20 || (major === 20 && minor < 19))
    stop(`Node ${process.versions.node} is too old - install Node 20.19 or later`);
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

/** Installs when node_modules is missing or older than the lockfile, then builds (incremental). */
export function setup() {
  requirePlatform();
  const marker = join(root, 'node_modules', '.package-lock.json');
  const lock = join(root, 'package-lock.json');
  if (!existsSync(marker) || statSync(marker).mtimeMs < statSync(lock).mtimeMs)
    step('installing dependencies (npm ci)', 'npm', ['ci', '--no-audit', '--no-fund']);
  step('building (tsc -b)', process.execPath, [join(root, 'node_modules', 'typescript', 'bin', 'tsc'), '-b']);
}
