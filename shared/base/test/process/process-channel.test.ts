import { spawn } from 'node:child_process';
import t from 'tap';

const MODULE = new URL('../../src/process/process.js', import.meta.url).href;

t.test('a child that speaks to one that has just been killed ends without a word', async (t) => {
  // It is busy while the other is killed, and so does not see the channel end before it speaks.
  const child = `const { endWithChannel } = await import(process.argv[1]);
    endWithChannel();
    const parent = process.ppid;
    process.send('ready', () => {
      while (process.ppid === parent);
      process.send('too late');
      setTimeout(() => console.error('it lives on'), 60_000);
    });`;
  const parent = `const { spawn } = require('node:child_process');
    const stdio = ['ignore', 'ignore', 'inherit', 'ipc'];
    const c = spawn(process.execPath, ['--input-type=module', '-e', process.argv[1], process.argv[2]], { stdio });
    c.on('message', () => process.kill(process.pid, 'SIGKILL'));`;
  const running = spawn(process.execPath, ['-e', parent, child, MODULE], { stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  for await (const part of running.stderr) said += String(part);
  t.equal(said, '');
});
