import fc from 'fast-check';
import t from 'tap';
import { GNTMAP_READONLY, GNTST, GTF_READING, GTF_WRITING, ringIdx } from '@grantline/xen';
import { Bed, DEVICE, DRIVER, G1, G2, HOST, OK, PAGES, copy, grant, map, unmap, type Domain } from './grant-bed.js';

/** Three domains that grant to, map and copy into each other at random, against a model that keeps plain lists. */
type Step =
  | { kind: 'grant'; granter: number; grantee: number; pfn: number; readonly: boolean }
  | { kind: 'map'; mapper: number; grants: number[]; flags: number }
  | { kind: 'unmap'; mapper: number; picks: { at: number; host: boolean; device: boolean }[] }
  | { kind: 'copy'; caller: number; grant: number; byte: number; offset: number; len: number }
  | { kind: 'endAccess'; grant: number }
  | { kind: 'burstEdge' }
  | { kind: 'poll' }
  | { kind: 'death'; domain: number };

interface Grant {
  granter: number;
  gref: number;
  grantee: number;
  pfn: number;
  readonly: boolean;
}
interface Half {
  grant: Grant;
  device: boolean;
  readonly: boolean;
  dpn: number;
}
interface Mapping {
  mapper: number;
  grant: Grant;
  handle: number;
  dpn: number;
  readonly: boolean;
  host: boolean;
  device: boolean;
}

const domain = fc.nat(2);
const steps = fc.array(
  fc.oneof(
    {
      weight: 4,
      arbitrary: fc.record({
        kind: fc.constant('grant' as const),
        granter: domain,
        grantee: domain,
        pfn: fc.integer({ min: 4, max: PAGES - 2 }),
        readonly: fc.boolean(),
      }),
    },
    {
      weight: 6,
      arbitrary: fc.record({
        kind: fc.constant('map' as const),
        mapper: domain,
        grants: fc.array(fc.nat(30), { minLength: 1, maxLength: 4 }),
        flags: fc.integer({ min: 0, max: 7 }),
      }),
    },
    {
      weight: 6,
      arbitrary: fc.record({
        kind: fc.constant('unmap' as const),
        mapper: domain,
        picks: fc.array(fc.record({ at: fc.nat(30), host: fc.boolean(), device: fc.boolean() }), {
          minLength: 1,
          maxLength: 4,
        }),
      }),
    },
    {
      weight: 3,
      arbitrary: fc.record({
        kind: fc.constant('copy' as const),
        caller: domain,
        grant: fc.nat(30),
        byte: fc.integer({ min: 1, max: 255 }),
        offset: fc.nat(4200),
        len: fc.nat(4200),
      }),
    },
    { weight: 3, arbitrary: fc.record({ kind: fc.constant('endAccess' as const), grant: fc.nat(30) }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant('burstEdge' as const) }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant('poll' as const) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('death' as const), domain }) },
  ),
  // Long runs: with the default size most would end before anything is mapped.
  { minLength: 20, maxLength: 80, size: 'max' },
);

/** How often each interesting thing came up: chance alone decides, and a property that meets none of them says nothing. */
const met = { map: 0, mapRefused: 0, copy: 0, copyRefused: 0, inUse: 0, accessEnded: 0, unmapWaits: 0, deathWaits: 0 };

class Run {
  readonly bed: Bed;
  readonly domains: Domain[];
  private readonly dead = new Set<number>();
  private grants: Grant[] = [];
  private mappings: Mapping[] = [];
  private waiting: { burst: number; halves: Half[] }[] = [];
  private burst = 0;

  /** @param burst where the NIC's count begins, and the indices of the rings do; even */
  constructor(burst: number, way: 'messages' | 'ring') {
    this.burst = burst;
    this.bed = new Bed({ handles: 64, way, start: ringIdx(burst) });
    this.bed.mem.u32[0] = burst;
    this.domains = [this.bed.add(DRIVER), this.bed.add(G1), this.bed.add(G2)];
    this.bed.attachable.add(G1).add(G2);
    for (const granter of [0, 1, 2])
      for (const grantee of [0, 1, 2])
        this.step({ kind: 'grant', granter, grantee, pfn: 4 + grantee, readonly: granter === grantee });
  }

  step(s: Step): void {
    switch (s.kind) {
      case 'grant':
        if (this.dead.has(s.granter) || this.domains[s.granter].grants.free === 0) return;
        this.grants.push({
          ...s,
          gref: grant(this.domains[s.granter], this.domains[s.grantee].domid, s.pfn, s.readonly),
        });
        return;
      case 'map':
        return this.map(s.mapper, s.grants, s.flags);
      case 'unmap':
        return this.unmap(s.mapper, s.picks);
      case 'copy':
        return this.copy(s);
      case 'endAccess':
        return this.endAccess(s.grant);
      case 'burstEdge':
        this.burst = (this.burst + 1) >>> 0;
        return this.bed.burstEdge();
      case 'poll':
        this.bed.poll();
        this.waiting = this.waiting.filter((w) => w.burst === this.burst);
        return;
      case 'death':
        return this.death(s.domain);
    }
  }

  /** Pins, status bits and tables are exactly what the model's lists say. */
  check(): void {
    const halves = [...this.mappings.flatMap(halvesOf), ...this.waiting.flatMap((w) => w.halves)];
    for (const [i, d] of this.domains.entries()) {
      const mine = halves.filter((h) => h.grant.granter === i);
      same(d.memory.active.pins, mine.length, `pins of domain ${i}`);
      same(d.memory.maptrack.used, this.mappings.filter((m) => m.mapper === i).length, `handles of domain ${i}`);
      for (const g of this.grants.filter((x) => x.granter === i)) {
        const of = mine.filter((h) => h.grant === g);
        const writers = of.filter((h) => !h.readonly).length;
        const bits = (of.length > 0 ? GTF_READING : 0) | (writers > 0 ? GTF_WRITING : 0);
        same(this.bed.flags(d, g.gref) & (GTF_READING | GTF_WRITING), bits, `status bits of gref ${g.gref}`);
      }
    }
    same(this.bed.dma.used, halves.filter((h) => h.device).length, 'DMA entries');
    for (const h of this.waiting.flatMap((w) => w.halves))
      if (h.device) same(this.bed.dmaEntry(h.dpn)[0], 0, 'flags of a DMA entry that is closing');
    for (const m of this.mappings.filter((x) => x.device)) {
      const valid = this.dead.has(m.grant.granter) ? 0 : m.readonly ? 1 : 3;
      const [flags, context, owner, pfn] = this.bed.dmaEntry(m.dpn);
      same(flags, valid, 'DMA flags');
      same(context, this.domains[m.mapper].domid, 'DMA context');
      same(owner, this.domains[m.grant.granter].domid, 'DMA owner');
      same(pfn, m.grant.pfn, 'DMA page');
    }
  }

  /** Everybody lets go: every table must be as at the start. */
  end(): void {
    if ((this.burst & 1) === 1) this.step({ kind: 'burstEdge' });
    this.step({ kind: 'poll' });
    for (const [i] of this.domains.entries())
      this.unmap(
        i,
        this.mappings.filter((m) => m.mapper === i).map((m) => ({ all: m, host: m.host, device: m.device })),
      );
    if ((this.burst & 1) === 1) this.step({ kind: 'burstEdge' });
    this.step({ kind: 'poll' });
    this.check();
    if (!this.bed.atRest(...this.domains)) throw new Error('something is left');
    for (const g of [...this.grants]) this.endAccess(this.grants.indexOf(g));
    for (const d of this.domains) {
      same(this.bed.ops.pinned(d.domid), 0, 'pinned');
      same(d.grants.free, 2040, 'free entries');
    }
    for (let dpn = 0; dpn < 64; dpn++) same(this.bed.dmaEntry(dpn)[0], 0, 'flags of a free DMA entry');
  }

  /** Through a ring nobody goes on before the NIC has let go of what he unmapped. */
  private cannotCall(i: number): boolean {
    return this.dead.has(i) || this.bed.isHeld(this.domains[i].domid);
  }

  private map(mapper: number, picks: number[], flags: number): void {
    if (this.cannotCall(mapper) || this.grants.length === 0) return;
    const who = this.domains[mapper];
    const grants = picks.map((p) => this.grants[p % this.grants.length]);
    const readonly = (flags & GNTMAP_READONLY) !== 0;
    const res = map(
      who,
      ...grants.map((g) => [flags, g.gref, this.domains[g.granter].domid] as [number, number, number]),
    );
    grants.forEach((g, i) => {
      let status: number = OK;
      if ((flags & (HOST | DEVICE)) === 0) status = GNTST.badGntref;
      else if (this.dead.has(g.granter)) status = GNTST.badDomain;
      else if (this.mappings.filter((m) => m.mapper === mapper).length === 64) status = GNTST.noDeviceSpace;
      else if (g.grantee !== mapper || (g.readonly && !readonly)) status = GNTST.generalError;
      same(res[i].status, status, 'status of a map');
      met[status === OK ? 'map' : 'mapRefused']++;
      if (status !== OK) return;
      same(res[i].pfn, g.pfn, 'page of a map');
      const { handle, dpn } = res[i];
      this.mappings.push({
        mapper,
        grant: g,
        handle,
        dpn,
        readonly,
        host: (flags & HOST) !== 0,
        device: (flags & DEVICE) !== 0,
      });
    });
  }

  private unmap(mapper: number, picks: { at?: number; all?: Mapping; host: boolean; device: boolean }[]): void {
    if (this.cannotCall(mapper) || picks.length === 0) return;
    const mine = this.mappings.filter((m) => m.mapper === mapper);
    const ended: Half[] = [];
    const expected: number[] = [];
    const elements = picks.map((p) => {
      const m = p.all ?? mine[p.at! % (mine.length + 1)];
      if (m === undefined) {
        expected.push(GNTST.badHandle);
        return { handle: 1000 + p.at!, host: true };
      }
      const element = { handle: m.handle, host: p.host, dpn: p.device ? m.dpn || 77 : 0 };
      if (!m.host && !m.device) expected.push(GNTST.badHandle);
      else if (p.host && !m.host) expected.push(GNTST.badVirtAddr);
      else if (p.device && !m.device) expected.push(GNTST.badDevAddr);
      else {
        expected.push(OK);
        if (p.host) ended.push({ grant: m.grant, device: false, readonly: m.readonly, dpn: 0 });
        if (p.device) ended.push({ grant: m.grant, device: true, readonly: m.readonly, dpn: m.dpn });
        if (p.host) m.host = false;
        if (p.device) m.device = false;
      }
      return element;
    });
    this.mappings = this.mappings.filter((m) => m.host || m.device);
    const waits = ended.some((h) => h.device) && (this.burst & 1) === 1;
    if (waits) {
      this.waiting.push({ burst: this.burst, halves: ended });
      met.unmapWaits++;
    }
    const statuses = unmap(this.domains[mapper], ...elements);
    same(statuses.join(), waits ? '' : expected.join(), 'statuses of an unmap');
  }

  private copy(s: { caller: number; grant: number; byte: number; offset: number; len: number }): void {
    if (this.cannotCall(s.caller) || this.grants.length === 0) return;
    const g = this.grants[s.grant % this.grants.length];
    const who = this.domains[s.caller];
    const owner = this.domains[g.granter];
    const source = this.bed.page(who, PAGES - 1).fill(s.byte);
    const before = this.bed.page(owner, g.pfn).slice();
    const [status] = copy(who, { src: PAGES - 1, dst: g.gref, dstDomid: owner.domid, dstOffset: s.offset, len: s.len });
    // A domain's own number always stands for itself, so only others can be found dead.
    let expected: number = OK;
    if (this.dead.has(g.granter)) expected = GNTST.badDomain;
    else if (g.grantee !== s.caller || g.readonly) expected = GNTST.generalError;
    else if (s.offset + s.len > 4096 || s.len > 4096) expected = GNTST.badCopyArg;
    same(status, expected, 'status of a copy');
    met[expected === OK ? 'copy' : 'copyRefused']++;
    if (expected === OK) before.set(source.subarray(0, s.len), s.offset);
    if (Buffer.compare(before, this.bed.page(owner, g.pfn)) !== 0) throw new Error('the page is not as it should be');
  }

  private endAccess(pick: number): void {
    if (this.grants.length === 0) return;
    const g = this.grants[pick % this.grants.length];
    const owner = this.domains[g.granter];
    const used =
      this.mappings.some((m) => m.grant === g) || this.waiting.some((w) => w.halves.some((h) => h.grant === g));
    same(owner.grants.endAccess(g.gref as never), !used, 'end of access');
    met[used ? 'inUse' : 'accessEnded']++;
    if (used) return;
    owner.grants.release(g.gref as never);
    this.grants = this.grants.filter((x) => x !== g);
  }

  private death(i: number): void {
    if (this.dead.has(i)) return;
    this.dead.add(i);
    const gone = this.mappings.filter((m) => m.mapper === i);
    this.mappings = this.mappings.filter((m) => m.mapper !== i);
    const halves = gone.flatMap(halvesOf);
    const owns = this.mappings.some((m) => m.grant.granter === i && m.device);
    const waits = (this.burst & 1) === 1 && (owns || halves.some((h) => h.device));
    this.bed.rings.get(this.domains[i].domid)?.back.end();
    const pending = this.bed.ops.beginDeath(this.domains[i].domid);
    same(pending !== null, waits, 'death waits for the NIC');
    if (pending === null) return;
    met.deathWaits++;
    // Without a device half among them nothing of its own waits: only its pages, in entries of others, do.
    if (halves.some((h) => h.device)) this.waiting.push({ burst: this.burst, halves });
    this.bed.waiting.push({ pending, reply: () => undefined });
  }
}

function halvesOf(m: Mapping): Half[] {
  const half = (device: boolean): Half => ({
    grant: m.grant,
    device,
    readonly: m.readonly,
    dpn: device ? m.dpn : 0,
  });
  return [...(m.host ? [half(false)] : []), ...(m.device ? [half(true)] : [])];
}

function same(got: unknown, wanted: unknown, what: string): void {
  if (got !== wanted) throw new Error(`${what}: ${String(got)}, not ${String(wanted)}`);
}

const ways = fc.constantFrom('messages' as const, 'ring' as const);

t.test(
  'by messages and through a ring: pins, status bits, handles and DMA entries always agree, and all are back at rest in the end',
  (t) => {
    fc.assert(
      fc.property(fc.constantFrom(0, 2, 0xfffffff0, 0xfffffffe), ways, steps, (burst, way, all) => {
        const run = new Run(burst, way);
        for (const s of all) {
          run.step(s);
          run.check();
        }
        run.end();
      }),
      { numRuns: 300 },
    );
    // The rarest come some 70 times.
    const rare = Object.entries(met).filter(([, times]) => times < 20);
    t.same(rare, [], 'all that can happen has happened');
    t.end();
  },
);
