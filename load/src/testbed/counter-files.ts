/** The services' counters, read from the memory that they are counted in, without asking the services: it costs them
 *  nothing. The hypervisor hands out descriptors of it to the operator; docs/wire/control-plane.md sections 2 and 4. */
import { closeSync } from 'node:fs';
import { join } from 'node:path';
import { nowNs } from '@grantline/base';
import { CounterReader, readerOf } from '@grantline/observe';
import { fetchDescriptor } from '@grantline/machine';
import { SHARED_SOCKET } from '@grantline/xen';
import type { Client } from '../control/client.js';
import type { ServiceName, ServiceSnapshot } from '../control/snapshot.js';

/** Which domain's counters. */
export interface CounterOwner {
  name: ServiceName;
  kind: ServiceSnapshot['kind'];
  domid: number;
  /** Its process: a successor of that number has counters of its own. */
  pid: number | null;
}

interface Open {
  readonly pid: number | null;
  /** null: on its way. */
  file: { fd: number; reader: CounterReader } | null;
  /** Fulfilled when it is there, or refused. */
  there: Promise<void>;
}

export class CounterFiles {
  private readonly client: Pick<Client, 'counterTicket'>;
  private readonly socket: string;
  private readonly open = new Map<number, Open>();

  constructor(client: Pick<Client, 'counterTicket'>, dir: string) {
    this.client = client;
    this.socket = join(dir, SHARED_SOCKET);
  }

  /** Asks for what is not open yet. Fulfilled when it is, or is refused. */
  async openAll(owners: readonly CounterOwner[]): Promise<void> {
    for (const { domid, pid } of owners) this.readerFor(domid, pid);
    await Promise.all([...this.open.values()].map((o) => o.there));
  }

  /** Counters of all that can be read; a domain that is being born or has just died is left out. What only the process
   *  itself can tell (its CPU time, its memory) is 0. */
  read(owners: readonly CounterOwner[]): ServiceSnapshot[] {
    for (const domid of this.open.keys()) if (!owners.some((o) => o.domid === domid)) this.close(domid);
    const out: ServiceSnapshot[] = [];
    for (const { name, kind, domid, pid } of owners) {
      const reader = this.readerFor(domid, pid);
      if (reader === null) continue;
      try {
        const blocks = reader.read();
        out.push({ name, kind, domid, atNs: nowNs(), processCpuNs: 0, dataThreadCpuNs: 0, rssBytes: 0, blocks });
      } catch {
        // Looked at again in half a second.
      }
    }
    return out;
  }

  /** Nobody looks any more. */
  closeAll(): void {
    for (const domid of [...this.open.keys()]) this.close(domid);
  }

  /** @returns null while it is on its way: there will be one at the next look */
  private readerFor(domid: number, pid: number | null): CounterReader | null {
    const known = this.open.get(domid);
    if (known !== undefined && known.pid === pid) return known.file?.reader ?? null;
    if (known !== undefined) this.close(domid);
    if (pid === null) return null;
    const open: Open = { pid, file: null, there: Promise.resolve() };
    this.open.set(domid, open);
    open.there = this.client
      .counterTicket(domid)
      .then(({ ticket }) => fetchDescriptor(this.socket, ticket))
      .then(
        (fd) => {
          if (this.open.get(domid) === open) open.file = { fd, reader: new CounterReader(readerOf(fd)) };
          else closeSync(fd);
        },
        () => {
          if (this.open.get(domid) === open) this.open.delete(domid);
        },
      );
    return null;
  }

  private close(domid: number): void {
    const fd = this.open.get(domid)?.file?.fd ?? null;
    this.open.delete(domid);
    if (fd !== null) closeSync(fd);
  }
}
