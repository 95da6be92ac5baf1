/** Is each step of the paper's ladder a step up here too, and if not, why? From the data only. Pure. */
import { gbps, nanos, small } from '../base/format.js';
import {
  componentNs,
  componentsOf,
  CPU_GROUPS,
  filledLink,
  rateOf,
  shownGroup,
  type Group,
  type Model,
} from './model.js';
import { COMPONENT_LABELS, isComponent } from './palette.js';
import type { RunResult } from './schema.js';

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
export const grantWork = (run: RunResult): number =>
  run.cpuNsPerFrame.hypervisor +
  componentNs(run, 'driverDomain', 'grantCalls') +
  componentNs(run, 'driverDomain', 'control');

/** Why a configuration that should be faster is slower, as far as the counters tell. */
export function whySlower(lower: Group, upper: Group): string {
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
      `and needs ${small(b.perFrame.grantOps)} grant operations per frame instead of ${small(a.perFrame.grantOps)}. Here a hypercall is a message between processes, ` +
      `not a trap: the hypervisor, the grant calls and the event loop that carries them take ${nanos(workB)} ns per frame instead of ${nanos(workA)}, ` +
      `the copy included. This cost is what grant reuse removes.`
    );
  }
  const more = b.cpuNsPerFrame.total - a.cpuNsPerFrame.total;
  const grew = growth(a, b);
  if (more > WORTH * Math.max(a.cpuNsPerFrame.total, 1) && grew.length > 0)
    return `A frame costs ${nanos(more)} ns more CPU time (${nanos(b.cpuNsPerFrame.total)} instead of ${nanos(a.cpuNsPerFrame.total)}), most of it in: ${grew.join('; ')}.`;
  return `Its CPU cost per frame is not higher (${nanos(b.cpuNsPerFrame.total)} ns, ${nanos(a.cpuNsPerFrame.total)} ns), so the counters do not explain it; look at the notes of its runs.`;
}

/** Each step of the paper's ladder: is it a step up here too? */
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
