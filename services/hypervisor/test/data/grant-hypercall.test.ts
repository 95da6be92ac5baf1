import t from 'tap';
import {
  DMAOP_MAP_SELF,
  GNTTABOP_COPY,
  GNTTABOP_MAP,
  GNTTABOP_UNMAP,
  HYPERCALL_MAX_COUNT,
  HYPERCALL_RC,
  HYPERCALL_REPLY_MAX_BYTES,
  MAP_BYTES,
  resultBytes,
} from '@grantline/xen';
import { Bed, DRIVER, G1, grant, message } from './grant-bed.js';

function bed() {
  const b = new Bed();
  return { b, driver: b.add(DRIVER), guest: b.add(G1), reply: Buffer.alloc(HYPERCALL_REPLY_MAX_BYTES) };
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
  const { replyBytes, pending } = b.ops.executeMessage(DRIVER, request, reply);
  t.equal(pending, null);
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
    t.equal(out.replyBytes, out.rc === 0 ? 8 + count * resultBytes(cmd) : 8);
    t.equal(reply.readInt16LE(4), out.rc);
    t.equal(reply.readUInt32LE(0), 7, 'the sequence number comes back');
    return out.rc;
  };
  t.equal(rc(2, 0, 0), HYPERCALL_RC.enosys);
  t.equal(rc(GNTTABOP_MAP, HYPERCALL_MAX_COUNT + 1, (HYPERCALL_MAX_COUNT + 1) * MAP_BYTES), HYPERCALL_RC.einval);
  t.equal(rc(GNTTABOP_MAP, 2, MAP_BYTES), HYPERCALL_RC.efault);
  t.equal(rc(GNTTABOP_MAP, 1, MAP_BYTES + 1), HYPERCALL_RC.efault);
  t.equal(rc(GNTTABOP_UNMAP, 0xffff, 0), HYPERCALL_RC.einval);
  t.equal(rc(GNTTABOP_COPY, 0, 0), 0);
  t.equal(rc(GNTTABOP_COPY, 0, 0, 9), HYPERCALL_RC.esrch);
  t.equal(rc(DMAOP_MAP_SELF, HYPERCALL_MAX_COUNT, HYPERCALL_MAX_COUNT * 8, G1), 0);
  b.ops.beginDeath(G1);
  t.equal(rc(GNTTABOP_COPY, 0, 0, G1), HYPERCALL_RC.esrch);
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
  t.match(out, { rc: 0, replyBytes: 8 + 1024 });
  t.equal(
    b.ops.executeMessage(DRIVER, message(GNTTABOP_MAP, 512, Buffer.alloc(512 * 32)), reply).replyBytes,
    HYPERCALL_REPLY_MAX_BYTES,
  );
  t.end();
});
