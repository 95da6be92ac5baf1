/** What the figures say, in sentences. Each is made from the data and made only when the data bear it out. Pure. */
import { gbps, nanos, small, counted, listed, loadText, micros, percent, times } from '../base/format.js';
import {
  componentNs,
  componentsOf,
  CPU_GROUPS,
  filledLink,
  rateOf,
  shownGroup,
  byGuests,
  gainOf,
  type Group,
  type Model,
} from './model.js';
import { COMPONENT_LABELS, isComponent } from './palette.js';
import type { RunResult } from './read.js';
import { PAPER } from './paper.js';
import { medianInterval } from '../base/stats.js';

/** CPU ns per frame by "domain, component" without the NIC. */
function costs(run: RunResult): Map<string, number> {
  const out = new Map<string, number>();
  for (const { key, label } of CPU_GROUPS) {
    if (key === 'nic') continue;
    for (const name of componentsOf(key, [run]))
      out.set(`${label}, ${isComponent(name) ? COMPONENT_LABELS[name] : name}`, componentNs(run, key, name));
  }
  return out;
}

/** A part that is less than this share of the whole is no explanation. */
const WORTH = 0.03;

/** What grew most from one run to the other: at most three parts. */
function growth(from: RunResult, to: RunResult): string[] {
  const before = costs(from);
  const whole = Math.max(from.cpuNsPerFrame.total, 1);
  return [...costs(to)]
    .map(([name, ns]) => ({ name, by: ns - (before.get(name) ?? 0) }))
    .filter((g) => g.by > WORTH * whole)
    .sort((x, y) => y.by - x.by)
    .slice(0, 3)
    .map((g) => `${g.name} +${nanos(g.by)} ns`);
}

/** What issuing, passing and judging grant operations costs: the hypervisor, building calls, and their sockets. */
const grantWork = (run: RunResult): number =>
  run.cpuNsPerFrame.hypervisor +
  componentNs(run, 'driverDomain', 'grantCalls') +
  componentNs(run, 'driverDomain', 'control');

/** Why a configuration that should be faster is slower, as far as the counters tell. */
function whySlower(lower: Group, upper: Group): string {
  const a = lower.median;
  const b = upper.median;
  const workA = grantWork(a);
  const workB = grantWork(b);
  if (
    b.perFrame.grantOps > a.perFrame.grantOps &&
    b.perFrame.copiesBy.hypervisor < a.perFrame.copiesBy.hypervisor &&
    workB > workA
  ) {
    return (
      `${upper.config} saves the hypervisor's copy (${small(a.perFrame.copiesBy.hypervisor)} to ${small(b.perFrame.copiesBy.hypervisor)} per frame) ` +
      `and needs ${small(b.perFrame.grantOps)} grant operations per frame instead of ${small(a.perFrame.grantOps)}. Here a hypercall is the work of another process, ` +
      `not a trap: the hypervisor, the grant calls and what carries them take ${nanos(workB)} ns per frame instead of ${nanos(workA)}, ` +
      `the copy included. This cost is what grant reuse removes.`
    );
  }
  const more = b.cpuNsPerFrame.total - a.cpuNsPerFrame.total;
  const grew = growth(a, b);
  if (more > WORTH * Math.max(a.cpuNsPerFrame.total, 1) && grew.length > 0)
    return `A frame costs ${nanos(more)} ns more CPU time (${nanos(b.cpuNsPerFrame.total)} instead of ${nanos(a.cpuNsPerFrame.total)}), most of it in: ${grew.join('; ')}.`;
  return `Its CPU cost per frame is not higher (${nanos(b.cpuNsPerFrame.total)} ns, ${nanos(a.cpuNsPerFrame.total)} ns), so the counters do not explain it; look at the notes of its runs.`;
}

/** Each step of the paper's ladder: is it a step up here too, and if not, why? */
export function orderLines(m: Model, order: readonly string[]): string[] {
  const ladder = order.map((name) => shownGroup(m, name)).filter((g) => g !== undefined);
  const out: string[] = [];
  let unsure = false;
  for (let i = 1; i < ladder.length; i++) {
    const lower = ladder[i - 1];
    const upper = ladder[i];
    if (filledLink(m, lower) && filledLink(m, upper)) {
      out.push(`${lower.config} and ${upper.config} both filled the link: their order says nothing.`);
      continue;
    }
    const [slow, fast] = rateOf(lower) < rateOf(upper) ? [lower, upper] : [upper, lower];
    const apart = slow.interval.high < fast.interval.low;
    const alone = lower.runs.length === 1 && upper.runs.length === 1;
    const both = `${upper.config} (${gbps(rateOf(upper))} Gb/s) and ${lower.config} (${gbps(rateOf(lower))} Gb/s)`;
    if (!apart) {
      unsure = true;
      out.push(`${both} cannot be told apart: ${intervalsMeet(lower, upper)}.`);
    } else if (fast === lower) {
      unsure = true;
      out.push(
        `${upper.config} (${gbps(rateOf(upper))} Gb/s) is slower than ${lower.config} (${gbps(rateOf(lower))} Gb/s) here${alone ? ', by one run of each' : ''}, although it has an optimisation more. ${whySlower(lower, upper)}`,
      );
    }
  }
  if (ladder.length > 1 && !unsure && out.length === 0)
    out.push(`Each optimisation adds, as the paper has it: ${ladder.map((g) => g.config).join(', ')}, slowest first.`);
  return out;
}

const intervalsMeet = (a: Group, b: Group): string =>
  `${gbps(a.interval.low)} to ${gbps(a.interval.high)} and ${gbps(b.interval.low)} to ${gbps(b.interval.high)} overlap`;

/** What was measured, in a line. */
export function settingsLine(m: Model): string {
  const s = m.settings;
  const link = s.linkGbps === null ? 'unlimited link' : `${s.linkGbps} Gb/s link`;
  return `${counted(m.shown, 'guest')}, ${loadText(s)}, ${link}${s.flowControl ? '' : ' without flow control'}, ${s.seconds} s each, ${runsOf(m)}`;
}

function runsOf(m: Model): string {
  const counts = m.main.map((g) => g.runs.length);
  const least = Math.min(...counts);
  const most = Math.max(...counts);
  if (most === 1) return 'one run of each';
  return least === most ? `medians of ${most} interleaved runs` : `medians of ${least} to ${most} interleaved runs`;
}

export interface Headline {
  /** What became of what. */
  lead: string;
  /** The paper's, and how sure ours is. */
  remarks: string[];
}

export function headlineOf(m: Model): Headline {
  const gain = gainOf(m);
  const wrong = faultsOf(m);
  const paper = `The paper: ${PAPER.baselineGbps} to ${PAPER.optimisedGbps} Gb/s, ${PAPER.ratio} times; its ${PAPER.optimisedGbps} was the whole link.`;
  if (gain === null) {
    const best = m.main.reduce((x, y) => (rateOf(y) > rateOf(x) ? y : x));
    const lacking = ['baseline', 'optimised'].filter((c) => (shownGroup(m, c)?.median.delivered.gbps ?? 0) === 0);
    return {
      lead: `${best.config} delivered ${gbps(rateOf(best))} Gb/s`,
      remarks: [...wrong, `No ratio: there is no figure for ${listed(lacking)}.`, paper],
    };
  }
  const remarks: string[] = [];
  if (m.ratios.length > 1) {
    const i = medianInterval(m.ratios);
    remarks.push(
      `Round by round the ratio was ${times(i.low)} to ${times(i.high)}, ${i.isRange ? `the range of ${m.ratios.length} rounds` : `${percent(i.coverage, 0)} interval of the median of ${m.ratios.length} rounds`}.`,
    );
  }
  const full = m.main.filter((g) => (g.config === 'baseline' || g.config === 'optimised') && filledLink(m, g));
  if (full.length > 0)
    remarks.push(
      `${listed(full.map((g) => g.config))} filled the link of ${m.settings.linkGbps} Gb/s, so the ratio says what the link allowed.`,
    );
  return {
    lead: `${gbps(gain.from)} to ${gbps(gain.to)} Gb/s from baseline to optimised: ${times(gain.ratio)} times`,
    remarks: [...wrong, ...remarks, paper],
  };
}

/** What a ladder beside the first one comes to. */
export function gainLines(m: Model): string[] {
  const gain = gainOf(m);
  if (m.ladder === null || gain === null) return [];
  const { title } = m.ladder;
  return [
    `${title[0].toUpperCase()}${title.slice(1)}: ${gbps(gain.from)} to ${gbps(gain.to)} Gb/s from baseline to optimised, ${times(gain.ratio)} times.`,
  ];
}

/** What makes every figure worthless: it is said first. */
export function faultsOf(m: Model): string[] {
  const runs = m.groups.flatMap((g) => g.runs);
  const violated = runs.filter((r) => r.conservation !== 'ok').length;
  // Where faults were injected they are to be found.
  const corrupt = runs.filter((r) => r.corrupt > 0 && r.faults === undefined).length;
  return [
    ...(violated > 0 ? [`FAILED: in ${counted(violated, 'run')} frames are not accounted for.`] : []),
    ...(corrupt > 0 ? [`FAILED: in ${counted(corrupt, 'run')} frames arrived corrupt.`] : []),
  ];
}

/** Which interval the figures show. */
export function intervalLine(m: Model): string {
  const counts = [...new Set(m.main.map((g) => g.runs.length))];
  if (counts.length === 1 && counts[0] === 1) return 'One run of each: nothing is known of how far runs lie apart.';
  const ranged = m.main.some((g) => g.interval.isRange);
  if (ranged)
    return `The band is the range of all runs: with fewer than six there is no 95 % interval of the median${counts.every((n) => n < 6) ? '' : '; configurations with six or more show that interval, from order statistics'}.`;
  const least = Math.min(...m.main.map((g) => g.interval.coverage));
  return `The band is the interval of the median from order statistics, at least ${percent(least)} (95 % asked for).`;
}

/** The larger part of a frame's cost: in which domain, with the hypervisor's work charged to who called for it. */
interface Sides {
  driverDomain: number;
  guest: number;
}

function sidesOf(run: RunResult): Sides {
  const c = run.cpuNsPerFrame;
  return {
    driverDomain: c.driverDomain + Math.max(0, c.hypervisorByCaller['driverDomain'] ?? 0),
    guest: c.guest + Math.max(0, c.hypervisorByCaller['guest'] ?? 0),
  };
}

/** Where the time goes in baseline and in optimised, and whether the larger part moved. */
export function bottleneckLines(m: Model): string[] {
  const base = shownGroup(m, 'baseline');
  const best = shownGroup(m, 'optimised');
  if (!base || !best) return [];
  const a = sidesOf(base.median);
  const b = sidesOf(best.median);
  const where = (s: Sides): string => (s.driverDomain > s.guest ? 'the driver domain' : 'the guest');
  const cost = (s: Sides): string => `driver domain ${nanos(s.driverDomain)} ns, guest ${nanos(s.guest)} ns`;
  const first = where(a);
  const then = where(b);
  const moved =
    first === then
      ? `The larger part was with ${first} in both${first === 'the guest' ? '; in the paper it moved there from the driver domain' : '; in the paper it moved to the guest'}.`
      : first === 'the driver domain'
        ? 'The larger part moved from the driver domain to the guest, as in the paper.'
        : 'The larger part moved from the guest to the driver domain; in the paper it moved the other way.';
  return [
    `With the hypervisor's work charged to the domain that called for it, a frame costs: baseline: ${cost(a)}; optimised: ${cost(b)}. ${moved}`,
  ];
}

/** How latency is to be read: waiting in full queues, or the path's own. */
export function latencyLine(m: Model): string | null {
  const groups = m.main.filter((g) => g.median.latencyUs !== null);
  if (groups.length === 0) return null;
  if (m.lineGbps === null)
    return 'The link is unlimited: the sender keeps every queue full, so most of this is waiting behind other frames, not the path itself. Measure with --link 10 for a load that the path can take.';
  const full = groups.filter((g) => !filledLink(m, g)).map((g) => g.config);
  const held =
    full.length === 0
      ? null
      : `${listed(full)} did not keep up with the link: their queues were full, and their latency is waiting.`;
  const [fastest] = [...groups].sort((a, b) => (a.median.latencyUs?.p50 ?? 0) - (b.median.latencyUs?.p50 ?? 0));
  return [`Lowest median: ${fastest.config}, ${micros(fastest.median.latencyUs?.p50 ?? 0)} µs.`, held]
    .filter((x) => x !== null)
    .join(' ');
}

/** How each configuration grows with guests. */
export function guestsLines(m: Model): string[] {
  const several = byGuests(m);
  const lines = several.flatMap((own) => {
    const first = own[0];
    const last = own[own.length - 1];
    if (rateOf(first) === 0) return [];
    return [
      `${first.config}: ${gbps(rateOf(first))} Gb/s with ${counted(first.guests, 'guest')}, ${gbps(rateOf(last))} with ${last.guests} (${percent(rateOf(last) / rateOf(first), 0)}).`,
    ];
  });
  const single = m.groups.filter((g) => !several.some((own) => own[0].config === g.config)).map((g) => g.config);
  if (several.length > 0 && single.length > 0)
    lines.push(`Measured with one number of guests only: ${listed(single)}.`);
  return lines;
}
