/** All vifs: found in the backend directory, given a port of the bridge, let go when their guests are gone. */
import { DOMID_FIRST_RESERVED, parseDomId, type DomId } from '@grantline/base';
import { VIF_DEV, backendPath, domainPath, Follower } from '@grantline/xen';
import type { Reading } from '@grantline/observe';
import { MAX_PORTS, UPLINK } from '../data/bridge/bridge.js';
import type { Host } from './host.js';
import { BackVif, type NativeGate } from './back-vif.js';

interface Entry {
  control: BackVif;
  port: number;
  /** Address of the guest, bound to the port for as long as the vif lives: others cannot claim it. */
  mac: string | null;
}

export class Vifs {
  private readonly host: Host;
  private readonly native: NativeGate & { forget(vif: string): void };
  private readonly vifs = new Map<DomId, Entry>();
  private readonly root: string;
  private readonly scanner: Follower;

  constructor(host: Host, native: Vifs['native']) {
    this.host = host;
    this.native = native;
    this.root = `${domainPath(host.domid)}/backend/vif`;
    this.scanner = new Follower({
      step: () => this.scan(),
      failed: (err) => host.log.warn({ err }, 'the vifs cannot be listed'),
    });
  }

  /** Follows the backend directory from now on. */
  async begin(): Promise<void> {
    await this.host.xenstore.watch(this.root, (path) => this.changed(path));
  }

  get all(): BackVif[] {
    return [...this.vifs.values()].map((v) => v.control);
  }

  /** Every vif looks at its state again. */
  lookAll(): void {
    for (const { control } of this.vifs.values()) void control.look();
  }

  /** @returns true while frames wait for a guest: then it is called several times a second, else once */
  tick(nowNs: number): boolean {
    let waiting = false;
    for (const { control } of this.vifs.values()) if (control.tick(nowNs)) waiting = true;
    return waiting;
  }

  /** A domain died: all that it granted is let go of, whatever state its vif is in. */
  async domainGone(domid: DomId): Promise<void> {
    await this.remove(domid);
    this.host.window.forget(domid);
  }

  /** The NIC died; its queues are gone. */
  nicGone(): void {
    for (const { control } of this.vifs.values()) control.nicGone();
  }

  /** The service ends: everything of every guest is let go of. */
  async end(): Promise<void> {
    await this.scanner.end();
    await Promise.all([...this.vifs.keys()].map((domid) => this.remove(domid)));
  }

  describe(): Record<string, unknown>[] {
    return this.all.map((c) => c.describe());
  }

  /** What /metrics shows of all vifs. */
  readings(): Reading[] {
    return [
      ...this.all.flatMap((vif) => vif.readings()),
      // Without a vif nobody has copied; then the series are there all the same.
      { family: 'grantline_copies_total', labels: { component: 'driver_domain' }, value: 0 },
      { family: 'grantline_copied_bytes_total', labels: { component: 'driver_domain' }, value: 0 },
    ];
  }

  private changed(path: string): void {
    const guest = guestOf(path, this.root);
    const known = guest === null ? undefined : this.vifs.get(guest);
    if (known) void this.look(known.control);
    else void this.scanner.look();
  }

  private async look(control: BackVif): Promise<void> {
    try {
      await control.look();
      if (control.gone && this.vifs.get(control.guest)?.control === control) await this.remove(control.guest);
    } catch (err) {
      this.host.log.error({ err, vif: control.name }, 'an exception in the work of a vif');
    }
  }

  private async scan(): Promise<void> {
    for (const name of await this.host.xenstore.directory(this.root)) {
      const guest = toDomId(name);
      if (guest === null || this.vifs.has(guest)) continue;
      try {
        await this.add(guest);
      } catch (err) {
        this.host.log.warn({ err, guest }, 'a vif cannot be served');
      }
    }
  }

  private async add(guest: DomId): Promise<void> {
    const { host } = this;
    const mac = await host.xenstore.read(`${backendPath(host.domid, guest, VIF_DEV)}/mac`);
    if (mac === null) return;
    const taken = new Set([...this.vifs.values()].map((v) => v.port));
    let port = UPLINK + 1;
    while (taken.has(port)) port++;
    if (port >= MAX_PORTS) throw new RangeError('the bridge has no free port');
    const control = new BackVif(host, this.native, guest, port);
    const entry: Entry = { control, port, mac: null };
    this.vifs.set(guest, entry);
    if (mac !== '') {
      host.bridge.setStatic(mac, port);
      entry.mac = mac;
    }
    await control.begin();
    void this.look(control);
  }

  private async remove(domid: DomId): Promise<void> {
    const entry = this.vifs.get(domid);
    if (!entry) return;
    await entry.control.end().catch((err: unknown) => {
      this.host.log.error({ err, vif: entry.control.name }, 'an exception at the end of a vif');
    });
    if (this.vifs.get(domid) !== entry) return;
    this.vifs.delete(domid);
    if (entry.mac !== null) this.host.bridge.removeStatic(entry.mac);
    this.native.forget(entry.control.name);
    // A new guest of that number may have come meanwhile, and found its place taken.
    void this.scanner.look();
  }
}

/** The guest whose directory a changed path lies in, or null. */
function guestOf(path: string, root: string): DomId | null {
  return path.startsWith(`${root}/`) ? toDomId(path.slice(root.length + 1).split('/', 1)[0]) : null;
}

function toDomId(name: string): DomId | null {
  return /^\d{1,5}$/.test(name) && Number(name) < DOMID_FIRST_RESERVED ? parseDomId(Number(name)) : null;
}
