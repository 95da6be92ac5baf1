// Fails when a testbed left a process, a shared file, a network namespace or a container behind.
//   node tools/leftovers.mjs              what there is now
//   node tools/leftovers.mjs --list       the same, as lines to compare with later; never fails
//   node tools/leftovers.mjs --but FILE   what there is now and was not when FILE was written
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, readdirSync } from 'node:fs';

const SERVICE = /services\/(hypervisor|driver-domain|guest|nic)\/dist\/src\/main\.js$/;
const CONTAINERS = ['ps', '-a', '--no-trunc', '--filter', 'name=grantline', '--format', '{{.ID}} {{.Names}}'];

function* files() {
  for (const name of existsSync('/dev/shm') ? readdirSync('/dev/shm') : [])
    if (name.startsWith('grantline')) yield `/dev/shm/${name}`;
}

/** Those that load/test/tap makes, gl and a process's number, and the benchmark of TAP devices, gb. `ip netns` keeps their names there. */
function* namespaces() {
  for (const name of existsSync('/run/netns') ? readdirSync('/run/netns') : [])
    if (/^g[lb]\d+[a-z]$/.test(name)) yield `network namespace ${name}`;
}

function* processes() {
  for (const pid of readdirSync('/proc').filter((n) => /^\d+$/.test(n))) {
    try {
      const args = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
      if (!args.some((a) => SERVICE.test(a))) continue;
      // The 20th word behind the name: when it was started. A number alone may have had another owner.
      const since = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)?.split(' ')[19];
      yield `process ${pid}, started at ${since}: ${args.join(' ').trim()}`;
    } catch {
      // The process ended while we looked.
    }
  }
}

function containers() {
  try {
    const said = execFileSync('docker', CONTAINERS, {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
      timeout: 20_000,
    });
    return said
      .split('\n')
      .filter(Boolean)
      .map((line) => `container ${line}`);
  } catch {
    return [];
  }
}

const found = [...files(), ...namespaces(), ...processes(), ...containers()];
const [option, file = ''] = process.argv.slice(2);
if (option === '--list') {
  for (const line of found) console.log(line);
} else {
  const known = new Set(option === '--but' ? readFileSync(file, 'utf8').split('\n') : []);
  const left = found.filter((line) => !known.has(line));
  for (const line of left) console.error(`left behind: ${line}`);
  console.log(left.length === 0 ? 'nothing left behind' : `${left.length} left behind`);
  process.exit(left.length === 0 ? 0 : 1);
}
