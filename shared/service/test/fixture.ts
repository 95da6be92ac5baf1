/** Small services for tests of how a service starts and ends; argv says which. Not a test itself. */
import { CPU_COMMON } from '@grantline/machine';
import { readEnv } from '../src/env.js';
import { UsageError } from '@grantline/base';
import { createLog } from '../src/log.js';
import { Lifeline, runMain } from '../src/lifeline.js';
import { dropPrivileges } from '../src/privileges.js';

const say = (text: string): void => void process.stderr.write(`${text}\n`);

const cases: Record<string, () => Promise<void> | void> = {
  usage() {
    throw new UsageError('first line\nsecond line');
  },
  fault() {
    throw new Error('our own fault');
  },
  later() {
    setTimeout(() => {
      throw new Error('our own fault');
    }, 1);
  },
  env() {
    readEnv('guest');
  },
  stop() {
    lifeline(() => say('first'));
  },
  hang() {
    lifeline(() => new Promise(() => {}));
  },
  never: () => new Promise(() => {}),
  drop() {
    dropPrivileges({ uid: 64003, gid: 64003, groups: [64000] });
    say(JSON.stringify([process.getuid!(), process.getgid!(), process.getgroups!()]));
  },
  async app() {
    // Only here: it brings the HTTP server with it, which takes longer than all else that the other cases do.
    const { startService } = await import('../src/app.js');
    const service = await startService({
      kind: 'guest',
      spaceBytes: 16 << 20,
      components: CPU_COMMON,
    });
    service.add({ dump: { own: () => true }, stop: () => say('undone') });
    say(`url ${await service.open()}`);
  },
};

function lifeline(last: () => void | Promise<void>): void {
  const env = { ...readEnv('hypervisor'), kind: 'guest' as const };
  const l = new Lifeline({ log: createLog(env), stdin: env.lifeline });
  l.onStop(last);
  l.onStop(() => say('second'));
  l.onStop(() => {
    throw new Error('one step fails');
  });
  setInterval(() => {}, 1000);
  say('up');
}

void runMain('guest', cases[process.argv[2]]);
