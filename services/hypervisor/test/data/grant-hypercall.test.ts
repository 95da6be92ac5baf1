import t from 'tap';
import {
  DMAOP_MAP_SELF,
  GNTTABOP_COPY,
  GNTTABOP_MAP,
  GNTTABOP_UNMAP,
  HYPERCALL_MAX_COUNT,
  MAP_BYTES,
} from '@grantline/xen';
import { EFAULT, EINVAL, ENOSYS, ESRCH, REPLY_MAX_BYTES } from '../../src/data/grant-ops.js';
import { Bed, DRIVER, G1, grant, message } from './grant-bed.js';

function bed() {
  const b = new Bed();
  return { b, driver: b.add(DRIVER), guest: b.add(G1), reply: Buffer.alloc(REPLY_MAX_BYTES) };
}

t.test('the bytes of a map and its answer are those of docs/wire/hypercall.md', (t) => {
  const { b, guest, reply } = bed();
  t.equal(grant(guest, DRIVER, 5), 8);
  const request = Buffer.from(
    '0700000000000100' +
      '0000000000000000' +
      '02000000' +
      '08000000' +
      '0100' +
      '0000' +
      '00000000' +
      '0000000000000000',
    'hex',
  );
  const { replyBytes, needsQuiesce } = b.ops.executeMessage(DRIVER, request, reply);
  t.equal(needsQuiesce, false);
  t.equal(
    reply.toString('hex', 0, replyBytes),
    '0700000000000100' + '0000' + '0000' + '00000000' + '05000000' + '00000000',
  );
  t.end();
});

t.test('a call that is wrong as a whole is answered with an errno and does nothing', (t) => {
  const { b, guest, reply } = bed();
  grant(guest, DRIVER, 5);
  const rc = (cmd: number, count: number, bytes: number, caller: number = DRIVER): number => {
    const out = b.ops.executeMessage(caller, message(cmd, count, Buffer.alloc(bytes)), reply);
    t.equal(out.replyBytes, out.rc === 0 ? 8 + out.resultBytes : 8);
    t.equal(reply.readInt16LE(4), out.rc);
    t.equal(reply.readUInt32LE(0), 7, 'the sequence number comes back');
    return out.rc;
  };
  t.equal(rc(2, 0, 0), -ENOSYS);
  t.equal(rc(GNTTABOP_MAP, HYPERCALL_MAX_COUNT + 1, (HYPERCALL_MAX_COUNT + 1) * MAP_BYTES), -EINVAL);
  t.equal(rc(GNTTABOP_MAP, 2, MAP_BYTES), -EFAULT);
  t.equal(rc(GNTTABOP_MAP, 1, MAP_BYTES + 1), -EFAULT);
  t.equal(rc(GNTTABOP_UNMAP, 0xffff, 0), -EINVAL);
  t.equal(rc(GNTTABOP_COPY, 0, 0), 0);
  t.equal(rc(GNTTABOP_COPY, 0, 0, 9), -ESRCH);
  t.equal(rc(DMAOP_MAP_SELF, HYPERCALL_MAX_COUNT, HYPERCALL_MAX_COUNT * 8, G1), 0);
  b.death.begin(G1);
  t.equal(rc(GNTTABOP_COPY, 0, 0, G1), -ESRCH);
  t.end();
});

t.test('a message that is shorter than a header is no hypercall', (t) => {
  const { b, reply } = bed();
  for (let n = 0; n < 8; n++) t.equal(b.ops.executeMessage(DRIVER, Buffer.alloc(n), reply).replyBytes, 0);
  t.end();
});

t.test('the longest batch of the longest elements fits', (t) => {
  const { b, reply } = bed();
  const out = b.ops.executeMessage(DRIVER, message(GNTTABOP_COPY, 512, Buffer.alloc(512 * 40)), reply);
  t.match(out, { rc: 0, resultBytes: 1024 });
  t.equal(
    b.ops.executeMessage(DRIVER, message(GNTTABOP_MAP, 512, Buffer.alloc(512 * 32)), reply).replyBytes,
    REPLY_MAX_BYTES,
  );
  t.end();
});
