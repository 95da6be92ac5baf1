/** Descriptors of the memory of other domains. The hypervisor gives them only to those who may have them: driver domain and
 *  nic. */
import { closeSync } from 'node:fs';
import type { DomId } from '@grantline/base';
import type { HypervisorPort } from '@grantline/xen';

export class PeerMemory {
  private readonly client: Pick<HypervisorPort, 'descriptor'>;
  private readonly fds = new Map<DomId, number>();
  private readonly coming = new Map<DomId, Promise<void>>();

  constructor(client: Pick<HypervisorPort, 'descriptor'>) {
    this.client = client;
  }

  /** Resolves when the domain's memory can be mapped. @throws HypervisorError when there is no such domain */
  open(domid: DomId): Promise<void> {
    if (this.fds.has(domid)) return Promise.resolve();
    const coming = this.coming.get(domid) ?? this.fetch(domid);
    this.coming.set(domid, coming);
    return coming;
  }

  /** @throws Error when it is not open */
  fdOf(domid: DomId): number {
    const fd = this.fds.get(domid);
    if (fd === undefined) throw new Error(`the memory of domain ${domid} is not open`);
    return fd;
  }

  /** The domain is gone: a new one of that number has other memory. */
  forget(domid: DomId): void {
    this.coming.delete(domid);
    const fd = this.fds.get(domid);
    if (fd === undefined) return;
    this.fds.delete(domid);
    closeSync(fd);
  }

  close(): void {
    for (const domid of [...this.fds.keys(), ...this.coming.keys()]) this.forget(domid);
  }

  private fetch(domid: DomId): Promise<void> {
    const fetched = this.client.descriptor('memory', domid).then(
      (fd) => {
        if (this.coming.get(domid) !== fetched) {
          closeSync(fd);
          throw new Error(`domain ${domid} has gone`);
        }
        this.coming.delete(domid);
        this.fds.set(domid, fd);
      },
      (err: unknown) => {
        if (this.coming.get(domid) === fetched) this.coming.delete(domid);
        throw err;
      },
    );
    return fetched;
  }
}
