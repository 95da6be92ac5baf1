/** State for GET /dump, for everybody to look at: no secret is in it. */
import type { Parts } from './parts.js';

/** Domains, queues, ports and vifs as they are now. */
export function dump(hv: Parts): object {
  const { toolstack } = hv;
  return {
    domains: hv.domains.list().map(({ controlKey: _, ...d }) => d),
    connected: hv.server.connectedCount,
    queues: hv.nic.list(),
    lateNicReplies: hv.nic.lateReplies,
    dmaEntries: hv.dma.used,
    heldBatches: hv.runner.waiting,
    ports: hv.domains.live().map(({ domid }) => ({ domid, ports: hv.portsOf(domid) })),
    config: { generation: toolstack.generation, factors: toolstack.factors, vifs: toolstack.vifs() },
  };
}
