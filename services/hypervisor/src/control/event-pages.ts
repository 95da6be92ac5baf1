/** The files behind event channels: a page for each pair of domains, and the doorbells that the hypervisor rings when a
 *  bind makes a port pending. */
import { PAGE_SIZE, type DomId, type Port } from '@grantline/shared/abi/page.js';
import { EventSide } from '@grantline/shared/evtchn/event-page.js';
import { Ringer } from '@grantline/shared/mem/doorbell.js';
import { ordered } from './evtchn.js';
import type { TestbedFiles } from './files.js';
import type { MappedFiles } from './mapped-files.js';

export class EventPages {
  private readonly files: TestbedFiles;
  private readonly mapped: MappedFiles;
  private readonly pages = new Map<string, number>();

  constructor(files: TestbedFiles, mapped: MappedFiles) {
    this.files = files;
    this.mapped = mapped;
  }

  open(low: DomId, high: DomId): void {
    this.files.makeEventPage(low, high);
    this.pages.set(`${low}-${high}`, this.mapped.map(this.files.eventPage(low, high), PAGE_SIZE, true));
  }

  close(low: DomId, high: DomId): void {
    const at = this.pages.get(`${low}-${high}`);
    if (at === undefined) return;
    this.pages.delete(`${low}-${high}`);
    this.mapped.unmap(at, PAGE_SIZE);
    this.files.removeEventPage(low, high);
  }

  clear(owner: DomId, peer: DomId, port: Port): void {
    const side = this.side(owner, peer);
    side.clear(port);
    side.clearMask(port);
  }

  raise(owner: DomId, peer: DomId, port: Port): void {
    if (this.side(owner, peer).raise(port)) this.ring(owner);
  }

  /** As raise, where the peer before may have died between marking the port pending and ringing: then nobody else would
   *  ring for it, since it is pending already. */
  flush(owner: DomId, peer: DomId, port: Port): void {
    if (this.side(owner, peer).select(port)) this.ring(owner);
  }

  isPending(owner: DomId, peer: DomId, port: Port): boolean {
    return this.side(owner, peer).isPending(port);
  }

  private ring(owner: DomId): void {
    try {
      const ringer = new Ringer(this.files.doorbell(owner));
      ringer.ring();
      ringer.close();
    } catch {
      // The owner has not opened its doorbell yet; it looks at its bits when it does.
    }
  }

  private side(owner: DomId, peer: DomId): EventSide {
    const [low, high] = ordered(owner, peer);
    return new EventSide(this.mapped.space.mem, this.pages.get(`${low}-${high}`)!, owner, peer);
  }
}
