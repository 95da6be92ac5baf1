import t from 'tap';
import { NICQ_AVAIL_PROD, NICQ_SIZE } from '@grantline/xen';
import { postedIn, postedReadings } from '../../src/hardware/control/posted.js';
import { Kit } from '../kit.js';

const MAC = 0x02_00_00_00_00_01;

t.test('posted buffers are those that the NIC has not taken; a hostile index or a page that is gone shows 0', (t) => {
  const kit = new Kit();
  const q = kit.queue(1000, 1);
  kit.nic.attach(q.queue, MAC, null);
  const posted = (): number => postedIn(kit.mem, kit.dma, q.queue);
  t.equal(posted(), 0);
  q.postPages(5);
  t.equal(posted(), 5);
  kit.receive(kit.frame(MAC, 60), 60);
  t.equal(posted(), 4);
  const at = (q.header + NICQ_AVAIL_PROD) >> 2;
  const right = kit.mem.u32[at];
  kit.mem.u32[at] = right + NICQ_SIZE;
  t.equal(posted(), 0);
  kit.mem.u32[at] = right;
  kit.unmap(q.dpns[0]);
  t.equal(posted(), 0);
  t.end();
});

t.test('a queue that can be has a reading before it is attached', (t) => {
  t.same(
    postedReadings(['default', 'vif1.0'], new Map([['vif1.0', 7]])).map((r) => [r.labels?.queue, r.value]),
    [
      ['default', 0],
      ['vif1.0', 7],
    ],
  );
  t.end();
});
