import t from 'tap';
import { HYPERCALL_HEADER_BYTES, UNMAP_BYTES, UNMAP_HANDLE, type Call } from '@grantline/xen';
import type { CounterBlock } from '@grantline/machine';
import { NETBACK_TX_COUNTERS } from '@grantline/observe';
import type { Host } from '../../src/control/host.js';
import { releaseTx } from '../../src/control/vif-queues.js';
import type { NetbackTx } from '../../src/data/tx/netback-tx.js';

interface Left {
  inFlight: number;
  lent: number;
  outstanding: number;
}

/** A disconnecting vif with calls that are not answered, packets lent to others and with the NIC, and mappings.
 *  @param step makes some of it come back, at each wait
 *  @returns what was done, in order, and the handles that were unmapped */
async function release(left: Left, mappings: number, step: (left: Left, waits: number) => void) {
  const told: string[] = [];
  const handles: number[] = [];
  const client = {
    closed: false,
    hypercall: (call: Call): void => {
      told.push('unmap');
      for (let i = 0; i < call.count; i++)
        handles.push(call.words[(HYPERCALL_HEADER_BYTES + i * UNMAP_BYTES + UNMAP_HANDLE) >> 2]);
      call.results.fill(0);
      call.answer(0);
    },
  };
  const tx = {
    grants: left,
    packets: left,
    takeMappings: (take: (handle: number, dpn: number, at: number) => void) => {
      told.push('take');
      for (let i = 0; i < mappings; i++) take(70 + i, 0, 0x4000 * (i + 1));
    },
  } as unknown as NetbackTx;
  const port = { outstanding: () => left.outstanding, forget: () => void told.push('forget') };
  const host = { client, local: { leave: () => void told.push('leave') } } as unknown as Pick<Host, 'client' | 'local'>;
  const counters = {
    v: new Float64Array(NETBACK_TX_COUNTERS.names.length),
    commit: () => {},
  } as unknown as CounterBlock;
  let waits = 0;
  await releaseTx(host, tx, port, counters, () => {
    told.push('wait');
    step(left, ++waits);
    return Promise.resolve();
  });
  return { told, handles };
}

t.test(
  'H27, H39: what a vif had mapped is unmapped at the disconnect, when nobody has anything of it any more',
  async (t) => {
    const { told, handles } = await release({ inFlight: 1, lent: 1, outstanding: 1 }, 3, (left, waits) => {
      if (waits === 1) left.inFlight = 0;
      if (waits === 2) left.lent = 0;
      if (waits === 3) left.outstanding = 0;
    });
    t.same(told, ['leave', 'wait', 'wait', 'wait', 'forget', 'take', 'unmap']);
    t.same(handles, [70, 71, 72]);
  },
);

t.test(
  'H27, H39: a NIC that completes nothing is waited for a second, no longer; without mappings nothing is sent',
  async (t) => {
    const { told } = await release({ inFlight: 0, lent: 0, outstanding: 1 }, 0, () => {});
    t.same([told.filter((what) => what === 'wait').length, told.at(-2), told.at(-1)], [1000, 'forget', 'take']);
  },
);
