import t from 'tap';
import { Doorbell } from '../../src/mem/doorbell.js';
import { fcntl, waitReadable } from '../../src/mem/libc.js';
import { closeSync, writeSync } from 'node:fs';
import { Bell } from '../../testkit/handles.js';

const F_SETPIPE_SZ = 1031;

t.test(
  'a doorbell that is written without end keeps nobody: a look reads a bounded part, and what is left is found next',
  (t) => {
    const bell = new Bell();
    const writes = bell.rings;
    const doorbell = new Doorbell(bell.hears);
    const bytes = 1 << 20;
    // Any writer can make it so large.
    t.ok((fcntl(writes, F_SETPIPE_SZ, bytes) as number) >= bytes);
    t.equal(writeSync(writes, Buffer.alloc(bytes)), bytes);
    let looks = 0;
    while (doorbell.wait(0)) looks++;
    t.ok(looks > 1 && looks <= 256, `${looks} looks`);
    t.equal(waitReadable(bell.hears, -1, 0), 0, 'empty in the end');
    closeSync(writes);
    doorbell.close();
    bell.close();
    t.end();
  },
);
