/** The committed dashboards: as generated, and as the rules want them. Needs neither Prometheus nor Grafana. */
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { parse } from 'yaml';
import { asFile, DASHBOARDS } from '../src/all.js';
import { contractMetrics, OWN_OF_PROMETHEUS, shippedRules } from './contract.js';
import { HOME, JSON_DIR, PROVISIONING_DIR, REPOSITORY } from '../src/shipped.js';
import { fill, labelValues, readQuery } from './promql.js';
import { badQuery, lint, type DashboardJson } from './rules.js';

const rules = shippedRules();
const known = new Set([...contractMetrics(), ...OWN_OF_PROMETHEUS, ...rules.flatMap(({ rule }) => rule.record ?? [])]);
const committed = readdirSync(JSON_DIR).sort();
const read = (file: string): DashboardJson => JSON.parse(readFileSync(join(JSON_DIR, file), 'utf8')) as DashboardJson;

t.test('the committed JSON is what npm run dashboards makes', (t) => {
  t.same(committed, Object.keys(DASHBOARDS).sort(), 'no file too many, none too few');
  for (const [file, dashboard] of Object.entries(DASHBOARDS))
    t.equal(
      readFileSync(join(JSON_DIR, file), 'utf8'),
      asFile(dashboard),
      `${file}: run npm run dashboards and commit`,
    );
  t.end();
});

t.test('every dashboard keeps the rules', (t) => {
  for (const file of committed) t.same(lint(read(file), known), [], file);
  const uids = committed.map((file) => read(file).uid);
  t.equal(new Set(uids).size, committed.length, 'each has a uid of its own');
  t.end();
});

t.test('the rules find what they are for', (t) => {
  const broken = (change: (d: DashboardJson) => void): string => {
    const d = read('throughput.json');
    change(d);
    return lint(d, known).join('\n');
  };
  const panel = (d: DashboardJson): DashboardJson['panels'][number] =>
    d.panels.find((p) => p.title === 'Offered and delivered')!;
  const cases: [string, (d: DashboardJson) => void][] = [
    ['must not be editable', (d) => (d.editable = true)],
    ['must not have an id', (d) => (d.id = 7)],
    ['must not ask for inputs', (d) => (d.__inputs = [])],
    ['schemaVersion 41', (d) => (d.schemaVersion = 41)],
    ['not a stable one', (d) => delete d.uid],
    ['panel ids must be unique', (d) => (d.panels[2].id = d.panels[3].id!)],
    ['needs a description that says', (d) => (panel(d).description = 'Rates.')],
    ['must use the data source variable', (d) => (panel(d).datasource = { uid: 'grantline-prometheus' })],
    ['unit furlong', (d) => (panel(d).fieldConfig!.defaults!.unit = 'furlong')],
    ['reads grantline_no_such_total', (d) => (panel(d).targets![0].expr = 'grantline_no_such_total')],
    ['take $__rate_interval', (d) => (panel(d).targets![0].expr = 'rate(grantline_cable_frames_total[5m])')],
    ['is no PromQL', (d) => (panel(d).targets![0].expr = 'sum(rate(grantline_cable_frames_total[$__rate_interval])')],
    [
      'unit si:frame/s',
      (d) =>
        panel(d).fieldConfig!.overrides!.push({
          matcher: { id: 'byName', options: 'x' },
          properties: [{ id: 'unit', value: 'si:frame/s' }],
        }),
    ],
    ['overlap', (d) => (panel(d).gridPos.y -= 1)],
    ['outside the grid', (d) => (panel(d).gridPos.x = 20)],
    [
      'no query is called Z',
      (d) => (panel(d).transformations = [{ id: 'organize', options: { renameByName: { 'Value #Z': 'z' } } }]),
    ],
    ['variable run is missing', (d) => d.templating.list.splice(1, 1)],
    ['must be read anew', (d) => (d.templating.list[1].refresh = 1)],
  ];
  for (const [says, change] of cases) t.match(broken(change), says);
  t.end();
});

t.test('queries are read and filled in as Grafana does it', (t) => {
  t.same(
    readQuery('sum by (domain) (rate(a_total{b="c_total"}[4s] offset 1s)) / on (x) group_left (y) l:m:o or vector(0)'),
    { metrics: ['a_total', 'l:m:o'], windows: [{ fn: 'rate', window: '4s' }], errors: [] },
  );
  t.same(readQuery('rate(a{b=~"$x"}[5m]) + stddev_over_time({__name__="d"}[${__range}]) * $__range_s'), {
    metrics: ['a', 'd'],
    windows: [
      { fn: 'rate', window: '5m' },
      { fn: 'stddev_over_time', window: '${__range}' },
    ],
    errors: [],
  });
  for (const bad of ['sum(a', 'rate(a[])', 'a{b=c}', 'sum by domain (a)', 'nosuch(a)'])
    t.not(readQuery(bad).errors.length, 0, bad);
  t.same(labelValues('label_values(grantline_domain_up, domain)'), { metric: 'grantline_domain_up', label: 'domain' });
  const filling = { rangeSeconds: 59.5, variables: { config: ['a.b', 'c'], one: ['d'], run: '.*' } };
  t.equal(
    fill('x{c=~"$config",o=~"${one}",r=~"$run"}[$__range] [$__rate_interval] "$1"', filling),
    'x{c=~"(a\\\\.b|c)",o=~"d",r=~".*"}[60s] [4s] "$1"',
  );
  t.end();
});

t.test('rules read only what is exported, and every alert says what and where to look', (t) => {
  const records = rules.flatMap(({ rule }) => rule.record ?? []);
  t.equal(new Set(records).size, records.length, 'each is recorded once');
  for (const { file, rule } of rules) {
    const name = rule.record ?? rule.alert ?? '';
    t.same(badQuery(rule.expr, known), [], `${file}: ${name}`);
    if (rule.record) t.match(name, /^[a-z_]+:grantline_[a-z_]+:[a-z0-9_]+$/, 'level:metric:operation');
    else t.ok(rule.annotations?.['summary'] && rule.annotations['description'] && rule.labels?.['severity'], name);
  }
  t.end();
});

t.test('what provisioning names is there', (t) => {
  const yaml = (path: string): unknown => parse(readFileSync(join(PROVISIONING_DIR, path), 'utf8'));
  const sources = yaml('datasources/prometheus.yaml') as {
    datasources: { uid: string; editable: boolean; jsonData: { timeInterval: string } }[];
  };
  t.match(sources.datasources[0], { uid: 'grantline-prometheus', editable: false, jsonData: { timeInterval: '1s' } });
  const boards = yaml('dashboards/grantline.yaml') as {
    providers: { allowUiUpdates: boolean; disableDeletion: boolean; options: { path: string } }[];
  };
  t.match(boards.providers[0], { allowUiUpdates: false, disableDeletion: true });
  const compose = readFileSync(join(REPOSITORY, 'docker-compose.yml'), 'utf8');
  t.match(compose, `./dashboards/grafana/dashboards:${boards.providers[0].options.path}:ro`, 'and mounted there');
  t.match(compose, './dashboards/grafana/provisioning:/etc/grafana/provisioning:ro');
  t.match(compose, './dashboards/prometheus:/etc/prometheus:ro');
  t.end();
});

t.test('the configuration for a testbed on this machine is printed, and a wrong address refused', (t) => {
  const print = (...args: string[]): ReturnType<typeof spawnSync> =>
    spawnSync(process.execPath, [join(HOME, 'dist/src/embedded-main.js'), ...args], { encoding: 'utf8' });
  const good = print('127.0.0.1:7611');
  t.equal(good.status, 0);
  t.match(good.stdout, 'http://127.0.0.1:7611/prometheus/targets');
  t.match(good.stdout, /^ +- 127\.0\.0\.1:7680$/m, 'the live page where it is served unless told otherwise');
  t.match(print('127.0.0.1:7611', '127.0.0.1:7612').stdout, /^ +- 127\.0\.0\.1:7612$/m);
  for (const bad of [['7611'], ['http://127.0.0.1:7611'], ['a:1', '7680'], ['a:1', 'b:2', 'c:3']]) {
    const refused = print(...bad);
    t.equal(refused.status, 2, bad.join(' '));
    t.match(refused.stderr, /^dashboards: .* is not host:port - give .*\n$/);
    t.equal(refused.stdout, '');
  }
  t.end();
});
