// Fails when a testbed left a process or a shared file behind.
import { existsSync, readFileSync, readdirSync } from 'node:fs';

const left = [];
for (const name of existsSync('/dev/shm') ? readdirSync('/dev/shm') : [])
  if (name.startsWith('grantline')) left.push(`/dev/shm/${name}`);
for (const pid of readdirSync('/proc').filter((n) => /^\d+$/.test(n))) {
  try {
    const args = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
    if (args.some((a) => /services\/(hypervisor|driver-domain|guest|nic)\/dist\/src\/main\.js$/.test(a)))
      left.push(`process ${pid}: ${args.join(' ')}`);
  } catch {
    // The process ended while we looked.
  }
}
for (const line of left) console.error(`left behind: ${line}`);
console.log(left.length === 0 ? 'nothing left behind' : `${left.length} left behind`);
process.exit(left.length === 0 ? 0 : 1);
