/** The page that Prometheus scrapes: every counter of every block as its declaration says, what the service reads
 *  besides, and a few of the process. All is read when scraped; nothing on the data path knows that it is watched.
 *
 *  prom-client writes the page. Not its default metrics: those keep a timer of 10 ms running, which would wake an idle
 *  service all day. Not its counters: they cannot be set, and the registry takes anything that answers `get`. */
import type { Metric } from 'prom-client';
import {
  counter,
  gauge,
  TESTBED_FAMILIES,
  LATENCY,
  processCpuNs,
  type Family,
  type By,
  type Declared,
  type Series,
  type Labels,
  type BlockSnapshot,
  type CounterFile,
} from '@grantline/machine';
import { buildInfo, domainName } from '@grantline/base';
import { COUNTERS } from './names.js';

/** Every metric of every service, in the order of the page. docs/wire/metrics.md. */
const PROCESS_FAMILIES = {
  grantline_build_info: gauge('What is running.', 'version', 'revision', 'node'),
  process_cpu_seconds_total: counter('CPU time of all threads.'),
  process_resident_memory_bytes: gauge('Resident memory.'),
  process_start_time_seconds: gauge('Start of the process since the epoch.'),
  nodejs_heap_size_used_bytes: gauge('Used heap.'),
  nodejs_external_memory_bytes: gauge('Memory outside the heap.'),
} as const satisfies Record<string, Family>;

export const FAMILIES = {
  ...TESTBED_FAMILIES,
  ...PROCESS_FAMILIES,
} as const;
export type FamilyName = keyof typeof FAMILIES;

/** A value that the service reads when asked: ring slots, states, grants. */
export interface Reading<F extends string = FamilyName> {
  family: F;
  /** `domain` is the service's own unless it stands here. */
  labels?: Labels;
  value: number;
}

interface Sample {
  metricName?: string;
  labels: Readonly<Record<string, string>>;
  value: number;
}

interface MetricsOptions {
  /** The domain that the service is; label of all its series. */
  domain: string;
  /** null: no counters. */
  counterFile: Pick<CounterFile, 'totals'> | null;
  /** Asked at each scrape. */
  gauges?: () => Iterable<Reading>;
}

/** A page under construction. Series with the same labels add up. */
class Page<F extends string> {
  private readonly domain: string;
  private readonly families: Readonly<Record<F, Family>>;
  private readonly samples = new Map<F, Map<string, Sample>>();

  constructor(domain: string, families: Readonly<Record<F, Family>>) {
    this.domain = domain;
    this.families = families;
  }

  add({ family, labels, value }: Reading<F>, suffix = '', le?: string): void {
    let samples = this.samples.get(family);
    if (samples === undefined) this.samples.set(family, (samples = new Map<string, Sample>()));
    const all: Record<string, string> = { domain: this.domain, ...labels, ...(le === undefined ? {} : { le }) };
    const key = `${suffix} ${JSON.stringify(all)}`;
    const known = samples.get(key);
    if (known !== undefined) known.value += value;
    else samples.set(key, { metricName: `${family}${suffix}`, labels: all, value });
  }

  /** Families in the order in which they are declared. */
  async text(): Promise<string> {
    // With the first page: what shows none, as most commands, is not to wait for it. By its default: the started form has no names of
    // a CommonJS package that is loaded late.
    const { Registry } = (await import('prom-client')).default;
    const registry = new Registry();
    for (const name of Object.keys(this.families) as F[]) {
      const samples = this.samples.get(name);
      if (samples === undefined) continue;
      const { help, type } = this.families[name];
      const metric = { name, help, type, values: [...samples.values()], get: () => Promise.resolve(metric) };
      registry.registerMetric(metric as unknown as Metric);
    }
    return registry.metrics();
  }
}

/** What a page is sent as: prom-client's PROMETHEUS_CONTENT_TYPE. */
export const METRICS_TYPE = 'text/plain; version=0.0.4; charset=utf-8';

/** A page of nothing but these readings, for what is no service. @param domain label of all series, as a service's */
export function readingsPage<F extends string>(
  domain: string,
  families: Readonly<Record<F, Family>>,
  readings: Iterable<Reading<F>>,
): Promise<string> {
  const page = new Page(domain, families);
  for (const reading of readings) page.add(reading);
  return page.text();
}

export class ServiceMetrics {
  private readonly o: MetricsOptions;
  private readonly startSeconds = Math.floor(Date.now() / 1000 - process.uptime());

  constructor(options: MetricsOptions) {
    this.o = options;
  }

  /** The page as it is now. */
  text(): Promise<string> {
    const page = new Page<FamilyName>(this.o.domain, FAMILIES);
    for (const block of this.o.counterFile?.totals() ?? []) {
      if (block.kind === LATENCY.kind) addLatency(page, block);
      else addCounters(page, block);
    }
    for (const reading of this.o.gauges?.() ?? []) page.add(reading);
    for (const reading of this.ofProcess()) page.add(reading);
    return page.text();
  }

  private ofProcess(): Reading[] {
    const { rss, heapUsed, external } = process.memoryUsage();
    return [
      { family: 'grantline_build_info', labels: buildInfo(), value: 1 },
      { family: 'process_cpu_seconds_total', value: processCpuNs() / 1e9 },
      { family: 'process_resident_memory_bytes', value: rss },
      { family: 'process_start_time_seconds', value: this.startSeconds },
      { family: 'nodejs_heap_size_used_bytes', value: heapUsed },
      { family: 'nodejs_external_memory_bytes', value: external },
    ];
  }
}

/** From a label of a block to that of its series. */
const LABEL: Readonly<Record<By, (value: string) => Labels>> = {
  vif: (vif) => ({ vif }),
  queue: (queue) => ({ queue }),
  hop: (component) => ({ component }),
  // What the hypervisor counts for a caller is the caller's.
  domain: (domid) => ({ domain: domainName(Number(domid)) }),
  direction: (direction) => ({ direction: direction === 'in' ? 'rx' : 'tx' }),
  // The device at the far end of the cable has no vif.
  device: (device) => (device === 'far' ? {} : { vif: device }),
};

/** Labels of the series that a counter of a block adds to. What its family does not tell apart is left out, and adds up:
 *  copies by the driver domain are not told by vif. Nor has a block a label that it has no use for: the outer stack has no vif. */
export function seriesLabels({ by }: Declared, block: Readonly<Record<string, string>>, series: Series): Labels {
  const value = by === null ? undefined : block[by];
  if (by === null || value === undefined) return series.labels;
  const may: readonly string[] = ['domain', ...FAMILIES[series.family].labels];
  const own = Object.entries(LABEL[by](value)).filter(([name]) => may.includes(name));
  return { ...Object.fromEntries(own), ...series.labels };
}

/** A counter that is declared nowhere is left out: the tests find it. */
function addCounters(page: Page<FamilyName>, block: BlockSnapshot): void {
  const declared = COUNTERS.get(block.kind);
  if (declared === undefined) return;
  for (const [name, value] of Object.entries(block.values))
    for (const series of declared.counters[name]?.series ?? [])
      page.add({
        family: series.family,
        labels: seriesLabels(declared, block.labels, series),
        value: value * series.scale,
      });
}

function addLatency(page: Page<FamilyName>, block: BlockSnapshot): void {
  const family = 'grantline_frame_latency_seconds';
  const { buckets, sumSeconds } = latencyHistogram(block.values);
  for (const { le, count } of buckets) page.add({ family, value: count }, '_bucket', le);
  page.add({ family, value: sumSeconds }, '_sum');
  page.add({ family, value: buckets.at(-1)?.count ?? 0 }, '_count');
}

const FIRST_NS = 1024;
const OCTAVES = 24;
const ENDS_AT = /^lt(\d+|Infinity)$/;

/** Upper bounds in nanoseconds, doubling; exclusive in the block. */
export const LATENCY_BOUNDS_NS: readonly number[] = Array.from({ length: OCTAVES + 1 }, (_, k) => FIRST_NS * 2 ** k);

for (const ns of LATENCY_BOUNDS_NS)
  if (!LATENCY.names.includes(`lt${ns}`)) throw new Error(`the latency block has no bound at ${ns} ns`);

interface LatencyHistogram {
  /** Cumulative, by bound in seconds; the last bound is +Inf and its value the count of all. */
  readonly buckets: readonly { readonly le: string; readonly count: number }[];
  readonly sumSeconds: number;
}

/** The latency histogram for Prometheus, out of the log-linear block (shared/machine/src/counters/latency.ts). The block has bounds at 1.024 us
 *  and at each doubling of it up to 17.2 s; those are the `le` bounds, so the counts are exact.
 *  @param values a latency block's values by name, in the order of its slots */
export function latencyHistogram(values: Readonly<Record<string, number>>): LatencyHistogram {
  const bounds = new Set(LATENCY_BOUNDS_NS);
  const buckets: { le: string; count: number }[] = [];
  let count = 0;
  for (const [name, value] of Object.entries(values)) {
    const end = ENDS_AT.exec(name)?.[1];
    if (end === undefined) continue;
    count += value;
    if (end === 'Infinity') buckets.push({ le: '+Inf', count });
    else if (bounds.has(Number(end))) buckets.push({ le: String(Number(end) / 1e9), count });
  }
  return { buckets, sumSeconds: (values['sumNs'] ?? 0) / 1e9 };
}
