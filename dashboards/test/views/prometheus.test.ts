/** The real thing: a testbed, a Prometheus on the shipped configuration, a comparison of all six configurations. Then the
 *  series must tell what the run's JSON tells, and every query of every dashboard must have an answer. */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { shippedRules } from '../contract.js';
import { JSON_DIR, REPOSITORY } from '../../src/shipped.js';
import { fill, labelValues, type Filling } from '../promql.js';
import { queryOf, type DashboardJson, type PanelJson, type TargetJson } from '../rules.js';
import { growth, Lab, missing, type Series, type Span } from './prometheus-kit.js';

const CONFIGS = ['baseline', 'multiqueue', 'grant-reuse', 'optimised', 'direct', 'native'];
const SERVICES = ['driver-domain', 'guest1', 'guest2', 'hypervisor', 'nic'];
/** All that is scraped: the live page of the testbed shows the experiment. */
const SCRAPED = ['driver-domain', 'experimenter', 'guest1', 'guest2', 'hypervisor', 'nic'];
const SECONDS = 3;

interface Block {
  kind: string;
  values: Record<string, number>;
}
type Snapshot = { name: string; atNs: number; blocks: Block[] }[];
interface RunJson {
  config: string;
  delivered: { framesPerSecond: number; gbps: number };
  lost: number;
  /** All counters when measuring began, when it ended, and at rest. */
  raw: { a: Snapshot; b: Snapshot; c: Snapshot };
}

t.setTimeout(600_000);

t.test('Prometheus and a comparison', { skip: missing(), timeout: 500_000 }, async (t) => {
  const lab = new Lab('prometheus');
  t.teardown(() => lab.end());
  await lab.startTestbed(2);
  await lab.startPrometheus();

  interface Target {
    labels: Record<string, string>;
    health: string;
  }
  const targets = async (): Promise<Target[]> => (await lab.ask<{ activeTargets: Target[] }>('targets')).activeTargets;
  await lab.eventually('all services are scraped', async () => {
    const now = await targets();
    return now.length === SCRAPED.length && now.every((x) => x.health === 'up');
  });
  t.same((await targets()).map((x) => x.labels['domain']).sort(), SCRAPED, 'every service once, and the experimenter');
  t.same((await targets()).map((x) => x.labels['instance']).sort(), SCRAPED, 'series go by the name, not by the port');

  const start = Date.now() / 1000;
  const json = join(lab.home, 'compare.json');
  await lab.run('compare', '--guests', '2', '--seconds', String(SECONDS), '--json', json);
  const runs = (JSON.parse(readFileSync(json, 'utf8')) as { runs: RunJson[] }).runs;
  t.same(
    runs.map((r) => r.config),
    CONFIGS,
  );

  await lab.eventually('the last figures are scraped', async () => {
    const found = await lab.atMoment('grantline_result_bytes_per_second{config="native"}', Date.now() / 1000);
    return found.length === 1;
  });
  // Targets are scraped at different moments of each second, and a busy machine misses some: all have been, at rest.
  const rest = Date.now() / 1000;
  await lab.eventually('every service is scraped at rest', async () => {
    const now = Date.now() / 1000;
    const up = await lab.atMoment('up{job="grantline"} == 1', now);
    const at = await lab.atMoment('timestamp(up{job="grantline"})', now);
    return up.length === SERVICES.length && at.every((s) => Number(s.value![1]) > rest);
  });
  await sleep(500);
  const end = Date.now() / 1000;
  const span = end - start;

  await t.test('the series tell the same numbers as the JSON', async (t) => {
    const phases = await lab.samples('grantline_phase_start_timestamp_seconds', span, end);
    const began = (config: string, phase: 'configure'): number =>
      phases.find((p) => p.labels['config'] === config && p.labels['phase'] === phase)!.samples.at(-1)!.value;
    for (const [metric, kind, counter] of [
      ['grantline_delivered_bytes_total', 'app', 'bytes'],
      ['grantline_delivered_frames_total', 'app', 'frames'],
      ['grantline_cable_frames_total{direction="rx"}', 'cable', 'sentFrames'],
    ] as const) {
      const found = await lab.samples(metric, span + 5, end);
      const total = found.reduce((n, { samples }) => n + samples.at(-1)!.value - samples[0].value, 0);
      const wanted = runs.reduce((n, r) => n + counted(r.raw.c, kind, counter), 0);
      t.equal(total, wanted, `${metric}: all runs together to the last one`);
      let judged = 0;
      for (const [i, { config, raw }] of runs.entries()) {
        const next = runs[i + 1];
        const restEnds = next === undefined ? end : began(next.config, 'configure');
        const said: Span = { low: 0, high: 0 };
        let figure = 0;
        for (const { labels, samples } of found) {
          // Each service's own figures, from the moment at which it read them.
          const [a, b, c] = [raw.a, raw.b, raw.c].map((all) => all.find((s) => s.name === labels['domain']));
          if (!a || !b || !c) throw new Error(`the JSON has no ${labels['domain']}`);
          const grown = growth(samples, epoch(a.atNs), epoch(b.atNs), [epoch(c.atNs), restEnds]);
          said.low += grown.low;
          said.high += grown.high;
          figure += counted([grown.resting ? c : b], kind, counter) - counted([a], kind, counter);
        }
        const what = `${config}: ${metric} while measured`;
        // A busy machine misses a scrape now and then: too few samples say nothing of a run of seconds.
        if (Number.isNaN(said.low + said.high)) t.comment(`${what}: too few samples`);
        else {
          within(t, said, figure, 1e-9, what);
          judged++;
        }
      }
      t.ok(judged >= CONFIGS.length / 2, `${metric}: most runs can be judged`);
    }
  });

  await t.test('the results on the page are those of the JSON', async (t) => {
    for (const [metric, figure] of [
      ['grantline_result_bytes_per_second', (r: RunJson): number => (r.delivered.gbps * 1e9) / 8],
      ['grantline_result_frames_per_second', (r: RunJson): number => r.delivered.framesPerSecond],
      ['grantline_result_lost_frames', (r: RunJson): number => r.lost],
    ] as const) {
      const found = await lab.atMoment(metric, end);
      t.ok(found.every((s) => s.metric['domain'] === 'experimenter'));
      for (const run of runs) {
        const value = Number(found.find((s) => s.metric['config'] === run.config)?.value?.[1]);
        within(t, { low: value, high: value }, figure(run), 1e-9, `${run.config}: ${metric}`);
      }
    }
  });

  await t.test('all targets stay up and all rules evaluate', async (t) => {
    t.same(
      (await targets()).map((x) => x.health),
      SCRAPED.map(() => 'up'),
    );
    const share = await lab.atMoment(`avg_over_time(up{job="grantline"}[${Math.ceil(span)}s])`, end);
    t.same(share.map((s) => s.metric['domain']).sort(), SERVICES);
    t.ok(Math.min(...share.map((s) => Number(s.value![1]))) > 0.8, 'few scrapes, if any, were late');
    interface Group {
      rules: { name: string; health: string; lastError?: string }[];
    }
    const { groups } = await lab.ask<{ groups: Group[] }>('rules');
    const rules = groups.flatMap((g) => g.rules);
    t.equal(rules.length, shippedRules().length);
    t.same(
      rules.filter((r) => r.health !== 'ok').map((r) => `${r.name}: ${r.lastError}`),
      [],
    );
    const seen = await lab.overRange('config_direction:grantline_delivered_bits:rate2s', start, end);
    t.same(
      seen.map((s) => s.metric['config']).sort(),
      [...CONFIGS].sort(),
      'each configuration is seen while measured',
    );
    const fired = await lab.overRange('ALERTS{alertstate="firing"}', start, end);
    t.same(
      fired.map((s) => s.metric['alertname']),
      [],
      'an undisturbed comparison raises no alert',
    );
  });

  /** File → panel → query → what it answered for all runs. */
  const answers: Record<string, Answers> = {};
  for (const file of readdirSync(JSON_DIR)) {
    const dashboard = JSON.parse(readFileSync(join(JSON_DIR, file), 'utf8')) as DashboardJson;
    await t.test(`every query of ${file} has an answer`, async (t) => {
      const { wrong, asked, answers: all } = await askAll(lab, dashboard, start, end);
      t.same(wrong, [], `${asked} queries`);
      t.ok(asked >= dashboard.panels.filter((p) => p.targets).length);
      answers[file] = all;
    });
  }

  const judge = join(REPOSITORY, 'tools/grafana-check');
  const skip = existsSync(join(judge, 'node_modules'))
    ? false
    : "Grafana's data code is not there: npm run check:grafana";
  await t.test("Grafana's own code makes of these answers what the panels draw from", { skip }, (t) => {
    const file = join(lab.home, 'answers.json');
    writeFileSync(file, JSON.stringify(answers));
    const judged = spawnSync(process.execPath, [join(judge, 'judge.mjs'), file], { encoding: 'utf8' });
    t.equal(judged.status, 0, `${judged.stdout}${judged.stderr}`);
    t.match(judged.stdout, /^(\d+) panels, \1 of them with data: 0 faults$/m);
    t.end();
  });
});

/** Panel → query letter → series. */
type Answers = Record<string, Record<string, Series[]>>;

/** Seconds since the epoch of a moment on the clock that all services share (CLOCK_MONOTONIC). */
const epoch = (atNs: number): number => (Date.now() - (Number(process.hrtime.bigint()) - atNs) / 1e6) / 1000;

/** A counter, added up over services of a snapshot. */
function counted(snapshot: Snapshot, kind: string, counter: string): number {
  let n = 0;
  for (const { blocks } of snapshot) for (const b of blocks) if (b.kind === kind) n += b.values[counter] ?? 0;
  return n;
}

/** Holds a figure of the JSON to what the series say. */
function within(t: Test, said: Span, wanted: number, share: number, what: string): void {
  const nearest = Math.min(Math.max(wanted, said.low), said.high);
  const off = wanted === 0 ? Math.abs(nearest) : Math.abs(nearest / wanted - 1);
  const between = said.low === said.high ? `${said.low}` : `${said.low.toPrecision(6)} to ${said.high.toPrecision(6)}`;
  t.ok(off <= share, `${what}: ${between} for ${wanted}, off by ${(off * 100).toFixed(2)} %`);
}

/** Asks every query of a dashboard as Grafana would, for all runs and for the one run by name. */
async function askAll(
  lab: Lab,
  d: DashboardJson,
  start: number,
  end: number,
): Promise<{ wrong: string[]; asked: number; answers: Answers }> {
  const wrong: string[] = [];
  const answers: Answers = {};
  let asked = 0;
  const choices: Record<string, string[]> = {};
  for (const v of d.templating.list) {
    if (v.type !== 'query') continue;
    const { metric, label } = labelValues(queryOf(v))!;
    choices[v.name] = await lab.ask<string[]>(`label/${label}/values`, { 'match[]': metric, start, end });
    asked++;
    if (choices[v.name].length === 0) wrong.push(`variable ${v.name} has no choice`);
  }
  const all = Object.fromEntries(
    d.templating.list.map((v) => [
      v.name,
      v.allValue ?? (v.includeAll === false ? [v.current!.value] : choices[v.name]) ?? 'grantline-prometheus',
    ]),
  );
  const fillings: Filling[] = [
    { rangeSeconds: end - start, variables: all },
    { rangeSeconds: end - start, variables: { ...all, run: choices['run'].slice(0, 1) } },
  ];
  for (const filling of fillings) {
    for (const a of d.annotations.list) {
      asked++;
      try {
        const found = await lab.overRange(fill(a.expr ?? '', filling), start, end);
        const times = found.flatMap((s) => (s.values ?? []).map(([, v]) => Number(v) / 1000));
        if (!times.some((time) => time >= start && time <= end))
          wrong.push(`annotation ${a.name}: nothing in the range`);
      } catch (error) {
        wrong.push(`annotation ${a.name}: ${(error as Error).message}`);
      }
    }
    for (const p of d.panels) {
      for (const target of p.targets ?? []) {
        asked++;
        try {
          const found = await ask(lab, target, fill(target.expr, filling), start, end);
          const said = judgeAnswer(p, target, found);
          if (said !== '') wrong.push(`"${p.title}" ${target.refId}: ${said} - ${target.expr}`);
          (answers[p.id!] ??= {})[target.refId!] ??= found;
        } catch (error) {
          wrong.push(`"${p.title}" ${target.refId}: ${(error as Error).message} - ${target.expr}`);
        }
      }
    }
  }
  return { wrong, asked, answers };
}

const ask = (lab: Lab, t: TargetJson, expr: string, start: number, end: number): Promise<Series[]> =>
  t.instant ? lab.atMoment(expr, end) : lab.overRange(expr, start, end);

/** @returns what is wrong with the answer, or '' */
function judgeAnswer(p: PanelJson, t: TargetJson, found: readonly Series[]): string {
  const values = found.flatMap((s) => (s.values ?? [s.value!]).map(([, v]) => Number(v)));
  if (!values.some(Number.isFinite)) return found.length === 0 ? 'empty' : 'nothing but NaN';
  const labels = new Set(found.flatMap((s) => Object.keys(s.metric)));
  const unknown = [...labelsNeeded(p, t)].filter((label) => !labels.has(label));
  return unknown.length === 0 ? '' : `has no label ${unknown.join(', ')}`;
}

/** Labels that a legend or a transformation of the panel relies on. */
function labelsNeeded(p: PanelJson, t: TargetJson): Set<string> {
  const needed = new Set<string>();
  for (const [, name] of (t.legendFormat ?? '').matchAll(/\{\{(\w+)\}\}/g)) needed.add(name);
  for (const { id, options } of p.transformations ?? []) {
    const o = options as { byField?: string; rowField?: string; columnField?: string };
    if (id === 'joinByField') needed.add(o.byField!);
    if (id === 'groupingToMatrix') for (const name of [o.rowField!, o.columnField!]) needed.add(name);
  }
  return needed;
}
