/** Where the memory of other domains is. The hypervisor tells only those who may have it: driver domain and nic. */
import { resolve } from 'node:path';
import type { DomId } from '../abi/page.js';
import type { HypervisorClient } from './client.js';

export class PeerMemory {
  private readonly dir: string;
  private readonly paths = new Map<DomId, string>();

  /** To be made before anybody else asks for the event: what came before is delivered once. A dead domain's path stays
   *  until its number is somebody else's: there is nothing there any more. */
  constructor(client: Pick<HypervisorClient, 'dir' | 'onEvent'>) {
    this.dir = client.dir;
    client.onEvent<{ domid: DomId; memory: string }>('domain.new', (e) => this.paths.set(e.domid, e.memory));
  }

  /** @throws Error when there never was such a domain */
  readonly pathOf = (domid: DomId): string => {
    const path = this.paths.get(domid);
    if (path === undefined) throw new Error(`there is no memory of domain ${domid}`);
    return resolve(this.dir, path);
  };
}
