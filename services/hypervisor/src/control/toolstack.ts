/** The toolstack: writes what domains find in xenstore when they start, and reads from it how far they are.
 *  Paths, owners and values: docs/wire/xenstore-paths.md. */
import {
  DOMID_CONTROL,
  DOMID_DRIVER,
  type DomId,
  CONFIGURATIONS,
  changeFactors,
  factorKeys,
  type Factors,
  NETWORK_PREFIX,
  OUTER_IP,
  RUN_PATH,
  type RunSettings,
  printable,
} from '@grantline/base';
import { VIF_DEV, XENBUS, XENBUS_NAMES, backendPath, domainPath, frontendPath, vifName } from '@grantline/xen';
import type { Domain, Domains } from './domains.js';
import type { XenStore } from './xenstore.js';

/** What is shown of an end's error at most: it may write anything. */
const ERROR_CHARS = 200;

export interface VifStatus {
  vif: string;
  guest: DomId;
  /** Names of xenbus states. */
  backend: string;
  frontend: string;
  /** Generations that the ends have taken over; null: none yet. */
  backendAck: number | null;
  frontendAck: number | null;
  /** What netback and netfront say is wrong. */
  error: string | null;
}

export class Toolstack {
  factors: Factors = CONFIGURATIONS.baseline;
  generation = 1;
  run: RunSettings | null = null;
  /** Limit of guests that have none of their own, "bytes,usec". */
  private rate: string | null = null;
  private readonly ownRates = new Map<DomId, string | null>();
  /** Guests with other stations behind them, and whether those to come are such. */
  private readonly nested = new Set<DomId>();
  private allNested = false;
  private readonly store: XenStore;
  private readonly domains: Domains;
  private readonly onConfigured: () => void;

  /** @param onConfigured called after the factors of all vifs were written */
  constructor(store: XenStore, domains: Domains, onConfigured: () => void = () => {}) {
    this.onConfigured = onConfigured;
    this.store = store;
    this.domains = domains;
    for (const path of ['/local', '/local/domain', '/tool']) store.own(path, DOMID_CONTROL, 'all');
  }

  /** A domain is born: its own directory; a guest's vif; for a new driver domain, the vifs of all guests. */
  domainBorn(domain: Domain): void {
    const { domid, kind } = domain;
    const home = domainPath(domid);
    this.store.own(home, DOMID_CONTROL, [domid, DOMID_DRIVER]);
    this.store.own(`${home}/name`, DOMID_CONTROL, [domid, DOMID_DRIVER], domain.name);
    this.store.own(`${home}/data`, domid, []);
    if (kind === 'guest') {
      if (this.allNested) this.nested.add(domid);
      this.makeVif(domain);
    }
    if (kind === 'driver-domain') for (const guest of this.domains.guests()) this.makeBackend(guest);
  }

  /** A domain is dead. A guest's directories go. The driver domain's vifs are set to Closed: nothing uses the guests'
   *  grants any more, and each netfront can take them back and wait for a successor. */
  domainDied(domain: Domain): void {
    this.remove(domainPath(domain.domid));
    if (domain.kind === 'guest') {
      this.ownRates.delete(domain.domid);
      this.nested.delete(domain.domid);
      this.remove(parentOfVif(domain.domid));
    }
    if (domain.kind === 'driver-domain') {
      for (const guest of this.domains.guests()) {
        this.makeBackend(guest);
        this.store.write(DOMID_CONTROL, `${backOf(guest.domid)}/state`, String(XENBUS.closed));
      }
    }
  }

  /** Writes factors into each vif's backend directory, the generation last.
   *  @returns the new generation @throws Error for an unknown factor or value */
  configure(change: Record<string, unknown>): number {
    this.factors = changeFactors(this.factors, change);
    this.generation++;
    for (const guest of this.domains.guests()) this.writeFactors(guest.domid);
    this.onConfigured();
    return this.generation;
  }

  /** Limits what a guest may send, or all of them, also those to come. @param rate "bytes,usec"; null: no limit */
  setRate(rate: string | null, guest?: DomId): void {
    if (guest === undefined) {
      this.rate = rate;
      this.ownRates.clear();
    } else this.ownRates.set(guest, rate);
    for (const { domid } of this.domains.guests()) if (guest === undefined || domid === guest) this.writeRate(domid);
  }

  /** All limits, for `setLimits`. */
  limits(): { all: string | null; own: ReadonlyMap<DomId, string | null> } {
    return { all: this.rate, own: new Map(this.ownRates) };
  }

  /** Puts limits back; a guest that came meanwhile has that of all. */
  setLimits({ all, own }: ReturnType<Toolstack['limits']>): void {
    const guests = this.domains.guests();
    const before = guests.map(({ domid }) => this.rateOf(domid));
    this.rate = all;
    this.ownRates.clear();
    for (const { domid } of guests) if (own.has(domid)) this.ownRates.set(domid, own.get(domid) ?? null);
    guests.forEach(({ domid }, i) => this.rateOf(domid) === before[i] || this.writeRate(domid));
  }

  rates(): { vif: string; rate: string | null }[] {
    return this.domains.guests().map(({ domid }) => ({ vif: vifName(domid, VIF_DEV), rate: this.rateOf(domid) }));
  }

  /** Whether other stations than the guest, with addresses of their own, may send by its vif; or by all vifs, also those to come.
   *  @returns the guests that this has changed for */
  setNested(nested: boolean, guest?: DomId): DomId[] {
    if (guest === undefined) this.allNested = nested;
    const changed = this.domains
      .guests()
      .map(({ domid }) => domid)
      .filter((domid) => (guest === undefined || domid === guest) && this.nested.has(domid) !== nested);
    for (const domid of changed) {
      if (nested) this.nested.add(domid);
      else this.nested.delete(domid);
      this.put(backOf(domid), { nested: nested ? '1' : '0' });
    }
    return changed;
  }

  isNested(guest: DomId): boolean {
    return this.nested.has(guest);
  }

  vifs(): VifStatus[] {
    return this.domains.guests().map(({ domid }) => ({
      vif: vifName(domid, VIF_DEV),
      guest: domid,
      backend: stateName(this.store.peek(`${backOf(domid)}/state`)),
      frontend: stateName(this.store.peek(`${frontOf(domid)}/state`)),
      backendAck: numberOrNull(this.store.peek(`${backOf(domid)}/generation-ack`)),
      frontendAck: numberOrNull(this.store.peek(`${frontOf(domid)}/generation-ack`)),
      error: this.errorOf(domid),
    }));
  }

  /** What the two ends say is wrong; either may be waiting for the other because of it. */
  private errorOf(guest: DomId): string | null {
    const back = this.store.peek(`${backOf(guest)}/error`);
    const front = this.store.peek(`${frontOf(guest)}/error`);
    const said = [back && printable(back, ERROR_CHARS), front && `frontend: ${printable(front, ERROR_CHARS)}`].filter(
      (text) => text,
    );
    return said.length > 0 ? said.join('; ') : null;
  }

  /** True when every vif is where the current generation wants it (section 7). */
  settled(): boolean {
    const g = this.generation;
    return this.vifs().every((v) =>
      this.factors.path === 'native'
        ? v.backend === 'closed' && v.frontend === 'closed' && v.backendAck === g
        : v.backend === 'connected' && v.frontend === 'connected' && v.backendAck === g && v.frontendAck === g,
    );
  }

  startRun(run: RunSettings): void {
    this.run = run;
    this.store.write(DOMID_CONTROL, RUN_PATH, JSON.stringify(run));
  }

  /** The receivers that have made themselves ready for the current run. */
  ready(): DomId[] {
    const run = this.run;
    if (run === null) return [];
    const isReady = (d: Domain): boolean => this.store.peek(`${domainPath(d.domid)}/data/run-ready`) === String(run.id);
    return this.domains
      .live()
      .filter(isReady)
      .map((d) => d.domid);
  }

  /** True when the guest may drive its NIC queue itself, by what the toolstack wrote for its vif. */
  isDirect(guest: DomId): boolean {
    return this.store.peek(`${backOf(guest)}/path`) === 'direct';
  }

  /** A guest's backend directory has gone already when the driver domain died first. */
  private remove(path: string): void {
    if (this.store.peek(path) !== null) this.store.rm(DOMID_CONTROL, path);
  }

  private makeVif(guest: Domain): void {
    const front = frontOf(guest.domid);
    for (const dir of [`${domainPath(guest.domid)}/device`, `${domainPath(guest.domid)}/device/vif`])
      this.store.own(dir, DOMID_CONTROL, [guest.domid, DOMID_DRIVER]);
    this.makeBackend(guest);
    this.store.own(front, guest.domid, [DOMID_DRIVER]);
    this.put(front, {
      backend: backOf(guest.domid),
      'backend-id': String(DOMID_DRIVER),
      handle: String(VIF_DEV),
      mac: guest.mac ?? '',
      ip: guest.ip ?? '',
      prefix: String(NETWORK_PREFIX),
      gateway: OUTER_IP,
    });
    this.store.own(`${front}/state`, guest.domid, [DOMID_DRIVER], String(XENBUS.initialising));
  }

  /** Afresh: nothing of a dead netback is left. Only the vif's own directory is the driver domain's, so that it cannot
   *  make directories for guests that are not there. */
  private makeBackend(guest: Domain): void {
    const { domid } = guest;
    const back = backOf(domid);
    const top = `${domainPath(DOMID_DRIVER)}/backend`;
    for (const dir of [top, `${top}/vif`]) this.store.own(dir, DOMID_CONTROL, [DOMID_DRIVER]);
    this.store.own(parentOfVif(domid), DOMID_CONTROL, [DOMID_DRIVER, domid]);
    this.store.rm(DOMID_CONTROL, back);
    this.store.own(back, DOMID_DRIVER, [domid]);
    this.put(back, {
      frontend: frontOf(domid),
      'frontend-id': String(domid),
      handle: String(VIF_DEV),
      mac: guest.mac ?? '',
      ip: guest.ip ?? '',
      nested: this.nested.has(domid) ? '1' : '0',
      online: '1',
    });
    if (this.rateOf(domid) !== null) this.writeRate(domid);
    this.writeFactors(domid);
  }

  private rateOf(guest: DomId): string | null {
    return this.ownRates.has(guest) ? (this.ownRates.get(guest) ?? null) : this.rate;
  }

  private writeRate(guest: DomId): void {
    const rate = this.rateOf(guest);
    if (rate === null) this.remove(`${backOf(guest)}/rate`);
    else this.put(backOf(guest), { rate });
  }

  private writeFactors(guest: DomId): void {
    this.put(backOf(guest), { ...factorKeys(this.factors), generation: String(this.generation) });
  }

  /** All or none, in order. What the toolstack writes stays its own: the directory's owner can read it only. */
  private put(dir: string, values: Record<string, string>): void {
    const keys = Object.entries(values);
    this.store.transaction(
      DOMID_CONTROL,
      keys.map(([name, value]) => ({ op: 'write', path: `${dir}/${name}`, value })),
    );
  }
}

/** The directories of a guest's vif. */
const backOf = (guest: DomId): string => backendPath(DOMID_DRIVER, guest, VIF_DEV);
const frontOf = (guest: DomId): string => frontendPath(guest, VIF_DEV);
const parentOfVif = (guest: DomId): string => `${domainPath(DOMID_DRIVER)}/backend/vif/${guest}`;

/** What a hostile end wrote is shown as it is only if it is a state. */
function stateName(text: string | null): string {
  return text !== null && /^[0-6]$/.test(text) ? XENBUS_NAMES[Number(text)] : XENBUS_NAMES[XENBUS.unknown];
}

const numberOrNull = (text: string | null): number | null =>
  text !== null && /^\d{1,15}$/.test(text) ? Number(text) : null;
