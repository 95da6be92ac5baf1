/** What Prometheus would see of a running testbed, for end-to-end tests. */
import { spawnSync } from 'node:child_process';
import { LABEL_NAMES } from '@grantline/machine';
import type { Test } from 'tap';
import type { CompareFile } from '../../src/report/results.js';
import { call, callBytes } from '../../src/base/http.js';
import { sum, type BlockKind } from '../../src/control/snapshot.js';
import { lacking } from './kit.js';

/** Pages as text, by domain: those that service discovery names, and the live page's, which shows the experiment. */
export async function scrape(hypervisor: string, page: string): Promise<Map<string, string>> {
  const groups = await call<{ targets: string[]; labels: { domain: string } }[]>(
    'hypervisor',
    hypervisor,
    '/prometheus/targets',
  );
  const experimenter = { targets: [new URL(page).host], labels: { domain: 'experimenter' } };
  const pages = new Map<string, string>();
  for (const { targets, labels } of [...groups, experimenter])
    for (const target of targets)
      pages.set(labels.domain, (await callBytes(labels.domain, `http://${target}`, '/metrics')).toString('utf8'));
  return pages;
}

interface Series {
  name: string;
  labels: Readonly<Record<string, string>>;
  value: number;
}

/** All series of all pages. */
export function seriesOf(pages: Iterable<string>): Series[] {
  return [...pages].flatMap((page) =>
    page.split('\n').flatMap((line) => {
      const found = /^([a-z_]+)\{(.*)\} (\S+)$/.exec(line);
      if (found === null) return [];
      const labels = [...found[2].matchAll(/([a-z]+)="([^"]*)"/g)].map(([, name = '', value = '']) => [name, value]);
      return [
        { name: found[1], labels: Object.fromEntries(labels) as Record<string, string>, value: Number(found[3]) },
      ];
    }),
  );
}

/** The metrics of a comparison tell the same as its results.
 *  @param before series of the testbed before it, @param pages those after it */
export function sameInMetrics(
  t: Test,
  before: readonly Series[],
  pages: ReadonlyMap<string, string>,
  file: CompareFile,
): void {
  const after = seriesOf(pages.values());
  t.same([...pages.keys()].sort(), ['driver-domain', 'experimenter', 'guest1', 'guest2', 'hypervisor', 'nic']);
  t.same(badLabels(after), []);
  const grown = (name: string, labels = {}): number => total(after, name, labels) - total(before, name, labels);
  const counted = (kind: BlockKind, counter: string): number =>
    file.runs.reduce((n, run) => n + sum(run.raw.c, kind, counter), 0);
  // Over all runs, with the resets that lie between them: pages only grow.
  t.ok(counted('app', 'frames') > 1000);
  t.equal(grown('grantline_delivered_frames_total'), counted('app', 'frames'));
  t.equal(grown('grantline_cable_frames_total', { direction: 'rx' }), counted('cable', 'sentFrames'));
  t.equal(grown('grantline_netback_received_frames_total', { queue: 'nic' }), counted('netback', 'nicFrames'));
  t.equal(grown('grantline_frame_latency_seconds_count'), counted('latency', 'count'));
  const drops = file.runs.flatMap((run) => Object.values(run.drops));
  t.equal(
    grown('grantline_dropped_frames_total'),
    drops.reduce((x, y) => x + y, 0),
  );
  for (const { config, delivered, perFrame, latencyUs } of file.results) {
    const near = (name: string, labels: object, wanted: number): void => {
      const got = total(after, name, { config, ...labels });
      t.ok(Math.abs(got - wanted) <= 0.05 * wanted, `${config}: ${name} ${got}, results ${wanted}`);
    };
    near('grantline_result_bytes_per_second', {}, (delivered.gbps * 1e9) / 8);
    near('grantline_result_operations_per_frame', { op: 'copies' }, perFrame.copies);
    near('grantline_result_latency_seconds', { quantile: '0.5' }, (latencyUs?.p50 ?? NaN) / 1e6);
  }
  t.equal(total(after, 'grantline_phase_info', { phase: 'idle' }), 1, 'the experiment is over');
  // The testbed has the configuration back that it was started with.
  t.equal(total(after, 'grantline_pool_grants', { domain: 'guest1' }), 512);
  t.ok(total(after, 'grantline_posted_buffers', { queue: 'vif1.0' }) > 0);
  void t.test('promtool finds nothing', { skip: lacking({ promtool: 'prometheus' }) }, (t) => {
    for (const [domain, page] of pages) t.equal(promtool(page), '', domain);
    t.end();
  });
}

/** Sum of a metric over all series that have these labels. */
export function total(series: readonly Series[], name: string, labels: Readonly<Record<string, string>> = {}): number {
  const wanted = Object.entries(labels);
  return series
    .filter((s) => s.name === name && wanted.every(([label, value]) => s.labels[label] === value))
    .reduce((sum, s) => sum + s.value, 0);
}

/** Series with labels that there should not be, or without a domain. */
function badLabels(series: readonly Series[]): string[] {
  const known = new Set<string>([...LABEL_NAMES, 'le']);
  return series
    .filter((s) => s.labels['domain'] === undefined || Object.keys(s.labels).some((label) => !known.has(label)))
    .map((s) => `${s.name} ${JSON.stringify(s.labels)}`);
}

/** What promtool finds wrong with a page; empty when nothing. */
function promtool(page: string): string {
  const { status, stdout, stderr } = spawnSync('promtool', ['check', 'metrics'], { input: page, encoding: 'utf8' });
  return status === 0 ? `${stdout}${stderr}`.trim() : `exit ${status}: ${stdout}${stderr}`;
}
