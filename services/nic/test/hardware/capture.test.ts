/** What a capture at the wire holds: the frames of one address, both ways, and drops with their reasons. */
import t from 'tap';
import { memoryProbe } from '@grantline/observe/testkit';
import { INBOUND, OUTBOUND, EGRESS_COUNTERS } from '@grantline/observe';
import { CableOut } from '../../src/hardware/data/cable-out.js';
import { MacProbe } from '../../src/hardware/data/mac-probe.js';
import { Kit } from '../kit.js';

const A = 0x02_00_00_00_00_01;
const B = 0x02_00_00_00_00_02;
const BROADCAST = 0xff_ff_ff_ff_ff_ff;

t.test('from the wire: the frames of the address and of groups; a frame that waits for a buffer is there once', (t) => {
  const kit = new Kit();
  kit.nic.probe = new MacProbe(kit.mem);
  const { probe, packets } = memoryProbe(kit.mem, kit.frames + (1 << 20), 1 << 20);
  t.equal(kit.nic.probe.on, false);
  probe.onChange = () => {};
  kit.nic.probe.add(probe, 'vif1.0', '02:00:00:00:00:01');
  probe.onChange();
  t.equal(kit.nic.probe.on, true);
  const q = kit.queue(1000, 1);
  kit.nic.attach(q.queue, A, null);
  kit.receive(kit.frame(A, 60), 60);
  t.same(packets(), [], 'no buffer: the sender is held, and offers it again');
  q.postPages(3);
  kit.receive(kit.frame(A, 60), 60);
  kit.receive(kit.frame(A, 1514, 9), 1514);
  kit.receive(kit.frame(B, 60), 60);
  kit.receive(kit.frame(BROADCAST, 60), 60);
  kit.receive(kit.frame(A, 59), 59);
  kit.receive(kit.frame(A, 9015), 9015);
  const got = packets();
  t.same(
    got.map((p) => [p.length, p.comment]),
    [
      [60, null],
      [1514, null],
      [60, 'dropped at nic: no_queue'],
      [59, 'dropped at nic: runt'],
      [9015, 'dropped at nic: oversize'],
    ],
  );
  t.same(got[1].bytes, Buffer.from(kit.mem.u8.slice(kit.frame(A, 1514, 9), kit.frames + 1514)));
  t.ok(got.every((p) => p.direction === INBOUND));
  kit.nic.flowControl = false;
  kit.receive(kit.frame(A, 60), 60);
  kit.receive(kit.frame(A, 60), 60);
  t.same(
    packets().map((p) => p.comment),
    [null, 'dropped at nic_queue: no_buffer'],
  );
  t.equal(q.counters.dropNoBuffer, 1);
  t.end();
});

t.test('onto the wire: by source address, in two pieces; refused packets of its own queue by their length', (t) => {
  const kit = new Kit();
  const out = new CableOut(kit.block(EGRESS_COUNTERS));
  out.probe = new MacProbe(kit.mem);
  const { probe, packets } = memoryProbe(kit.mem, kit.frames + (1 << 20), 1 << 20);
  out.probe.add(probe, 'vif1.0', '02:00:00:00:00:01');
  probe.onChange();
  const at = kit.frame(B, 60);
  const send = (from: number): void => {
    kit.mem.u8.set([2, 0, 0, 0, 0, from], at + 6);
    out.send(at, 54, at + 4096, 100, 0, 0);
  };
  kit.mem.u8.fill(5, at + 4096, at + 4196);
  send(1);
  send(2);
  out.probe.refused('vif1.0', 1500, 0);
  out.probe.refused('default', 1500, 0);
  const got = packets();
  t.same(
    got.map((p) => [p.bytes.length, p.length, p.direction]),
    [
      [154, 154, OUTBOUND],
      [0, 1500, OUTBOUND],
    ],
  );
  t.ok(got[0].bytes.subarray(54).every((b) => b === 5));
  t.end();
});
