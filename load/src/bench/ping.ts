/** What a ping takes through an idle testbed with a kernel at both ends: each hop is a sleeper that is woken. */
import { setTimeout as sleep } from 'node:timers/promises';
import { RunError } from '../base/errors.js';
import { checkOf } from './checks.js';
import type { Scenario } from './scenario.js';
import { betweenKernels, FAR, GUEST_IP, inNamespaces, run, whyNot } from './tap-bed.js';

/** Between two pings of an idle testbed: all services sleep again. */
const IDLE_SECONDS = 0.2;
const UP_LIMIT_MS = 5000;

/** The mean round trip in ms, of what ping says at its end. @returns NaN when nothing came back */
export function meanMs(said: string): number {
  const [, mean] = /min\/avg\/max\S* = [\d.]+\/([\d.]+)\//.exec(said) ?? [];
  return Number(mean ?? NaN);
}

const pings = async (...options: string[]): Promise<number> =>
  meanMs((await run('ip', ['netns', 'exec', FAR, 'ping', '-q', ...options, GUEST_IP])).out);

export const ping: Scenario = {
  name: 'ping',
  guests: 1,
  cold: true,
  async run(bed, s, progress) {
    const why = await whyNot(['ping']);
    if (why !== null) {
      progress.line(`  ping: skipped: ${why}`);
      return { checks: [], records: [] };
    }
    const idle: number[] = [];
    const flood: number[] = [];
    await inNamespaces(() =>
      betweenKernels(true, bed.placed?.placement ?? 'apart', async () => {
        for (
          const end = performance.now() + UP_LIMIT_MS;
          Number.isNaN(await pings('-c', '1', '-W', '1'));
          await sleep(50)
        )
          if (performance.now() > end) throw new RunError('the kernel in the guest answers no ping');
        const seconds = Math.max(1, Math.ceil(s.seconds));
        const count = String(Math.ceil(seconds / IDLE_SECONDS));
        for (let i = 0; i < s.runs; i++) {
          idle.push(await pings('-i', String(IDLE_SECONDS), '-c', count));
          flood.push(await pings('-f', '-w', String(seconds)));
          progress.line(`  ping ${i + 1}/${s.runs}: idle ${idle[i].toFixed(3)} ms, flood ${flood[i].toFixed(3)} ms`);
        }
      }),
    );
    const wake = bed.placed?.handover?.wakeUs;
    return {
      checks: [
        checkOf('ping through an idle testbed, TAP at both ends', 'ms', idle, { below: 0.5 }),
        checkOf('ping -f, TAP at both ends', 'ms', flood, { below: 0.1 }),
        ...(wake === undefined
          ? []
          : [checkOf('one wake-up of a sleeping node, by the probe', 'ms', [wake / 1000], { atLeast: 0 })]),
      ],
      records: [],
    };
  },
};
