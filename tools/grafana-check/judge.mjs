// npm run check:grafana: holds the committed dashboards to Grafana's own data code (@grafana/data): does it know the units and write
// numbers as meant, do the transformations make what the panels draw from, do the overrides find their fields. It weighs 180 MB, so it is
// not among the project's dependencies: it has a lockfile of its own and is installed here. Once it is, npm run test:views judges with it
// what the panels would draw of a real Prometheus' answers.
//   node tools/grafana-check/judge.mjs               units, transformations and matchers by name
//   node tools/grafana-check/judge.mjs ANSWERS.json  also over answers of a Prometheus: {file: {panel id: {query letter: [series]}}},
//                                                    series as its API gives them; dashboards/test/views/prometheus.test.ts writes them
// Prints what is wrong, a line each; ends with 1 when anything is.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { command, requirePlatform, step } from '../setup.mjs';

requirePlatform();
const home = fileURLToPath(new URL('.', import.meta.url));
if (!existsSync(`${home}/node_modules/.package-lock.json`)) {
  const install = ['ci', '--prefix', home, '--ignore-scripts', '--no-audit', '--no-fund'];
  await step('installing @grafana/data (npm ci)', () => command('npm', install));
}

// Grafana formats for the browser's language; and what it loads looks for a document once there is a window.
Object.defineProperty(globalThis, 'navigator', { value: { language: 'en', languages: ['en'] }, configurable: true });
const grafana = createRequire(import.meta.url)('@grafana/data');
const { firstValueFrom } = createRequire(import.meta.url)('rxjs');
globalThis.window = globalThis;

const { FieldType, fieldMatchers, standardTransformers, standardTransformersRegistry, toDataFrame } = grafana;
const transformers = new Map(Object.values(standardTransformers).map((t) => [t.id, t]));
standardTransformersRegistry.setInit(() =>
  [...transformers.values()].map((t) => ({ id: t.id, name: t.name, transformation: async () => t })),
);
const knownUnits = new Set(grafana.getValueFormats().flatMap((group) => group.submenu.map((unit) => unit.value)));

/** Units that are words, not a number with a prefix. */
const WORDS = new Set(['s', 'dateTimeFromNow']);

/** @param {string} unit @returns {string[]} what is wrong with it */
function judgeUnit(unit) {
  if (!knownUnits.has(unit) && !/^suffix:\S/.test(unit)) return [`unit ${unit}: Grafana does not know it`];
  if (WORDS.has(unit)) return [];
  const write = (value) => grafana.formattedValueToString(grafana.getValueFormat(unit)(value)).trim();
  const name = write(unit === 'percentunit' ? 0.01 : 1).replace(/^1 ?/, '');
  const escaped = name.replace(/[.*+?^${}()|[\]\\/]/g, '\\$&');
  return [3, 812_743, 4.8e6]
    .map(write)
    .filter((text) => !new RegExp(`^[0-9.]+ ?[kKMG]? ?${escaped}$`).test(text))
    .map((text) => `unit ${unit}: Grafana writes "${text}"`);
}

/** Frames as Grafana's Prometheus data source makes them of answers. */
function framesOf(panel, answers) {
  const tables = panel.targets.filter((t) => t.format === 'table');
  return panel.targets.flatMap((target) => {
    const series = answers[target.refId] ?? [];
    if (target.format === 'table') return [tableOf(series, target.refId, tables.length)];
    return series.map(({ metric, value, values }) => {
      const points = values ?? [value];
      const name = (target.legendFormat ?? '').replace(/\{\{(\w+)\}\}/g, (_all, label) => metric[label] ?? '');
      return toDataFrame({
        refId: target.refId,
        name,
        fields: [
          { name: 'Time', type: FieldType.time, values: points.map(([time]) => time * 1000) },
          {
            name: 'Value',
            type: FieldType.number,
            labels: metric,
            config: { displayNameFromDS: name },
            values: points.map(([, text]) => Number(text)),
          },
        ],
      });
    });
  });
}

/** A row for each series, a column for each label; a lone table's value is "Value", that of several "Value #A". */
function tableOf(series, refId, tables) {
  const labels = [...new Set(series.flatMap(({ metric }) => Object.keys(metric)))].sort();
  return toDataFrame({
    refId,
    fields: [
      { name: 'Time', type: FieldType.time, values: series.map(({ value }) => value[0] * 1000) },
      ...labels.map((name) => ({
        name,
        type: FieldType.string,
        values: series.map(({ metric }) => metric[name] ?? ''),
      })),
      {
        name: tables > 1 ? `Value #${refId}` : 'Value',
        type: FieldType.number,
        values: series.map(({ value }) => Number(value[1])),
      },
    ],
  });
}

/** @returns {Promise<string[]>} what is wrong with what the panel would draw */
async function judgeData(panel, answers) {
  const wrong = [];
  const shape = (panel.transformations ?? []).map((t) => ({ ...t }));
  const frames = await firstValueFrom(grafana.transformDataFrame(shape, framesOf(panel, answers)));
  if (!frames.some((frame) => frame.length > 0)) return ['nothing is left to draw'];
  const names = frames.flatMap((frame) => frame.fields.map((f) => grafana.getFieldDisplayName(f, frame, frames)));
  if (shape.length > 0) {
    if (frames.length !== 1) wrong.push(`the transformations leave ${frames.length} frames, not one`);
    for (const frame of frames)
      for (const field of frame.fields)
        if (field.type === FieldType.number && field.values.some((v) => Number.isNaN(v)))
          wrong.push(`column ${field.name} has NaN`);
    const left = names.filter((name) => /^Value( #[A-Z])?$|^sum of all$/.test(name));
    if (left.length > 0) wrong.push(`helper columns are left: ${left.join(', ')}`);
    wrong.push(...missingNames(panel, names));
  }
  if (panel.type === 'barchart') {
    const x = panel.options?.xField;
    if (!frames.some((frame) => frame.fields.some((f) => f.name === x && f.type === FieldType.string)))
      wrong.push(`no text column ${x} for the groups of bars: ${names.join(', ')}`);
  }
  for (const { matcher, properties } of panel.fieldConfig?.overrides ?? []) {
    // A colour for what may come is right; a unit or a threshold that meets nothing is a slip.
    if (properties.every(({ id }) => id === 'color' || id.startsWith('custom.'))) continue;
    const hits = fieldMatchers.get(matcher.id).get(matcher.options);
    if (!frames.some((frame) => frame.fields.some((f) => hits(f, frame, frames))))
      wrong.push(`override ${JSON.stringify(matcher.options)} finds none of: ${names.join(', ')}`);
  }
  return wrong;
}

/** Columns that an organize step names and that are not there. */
function missingNames(panel, names) {
  const renamed = (panel.transformations ?? []).flatMap((t) => Object.values(t.options?.renameByName ?? {}));
  return renamed.filter((name) => !names.includes(name)).map((name) => `column "${name}" is not there`);
}

const dir = fileURLToPath(new URL('../../dashboards/grafana/dashboards/', import.meta.url));
const given = process.argv[2] === undefined ? null : JSON.parse(readFileSync(process.argv[2], 'utf8'));
let panels = 0;
let drawn = 0;
const lines = [];
for (const file of readdirSync(dir).sort()) {
  for (const panel of JSON.parse(readFileSync(dir + file, 'utf8')).panels) {
    if (panel.targets === undefined) continue;
    panels++;
    const say = (what) => lines.push(`${file}: "${panel.title}": ${what}`);
    const { defaults, overrides = [] } = panel.fieldConfig ?? {};
    const units = overrides.flatMap((o) => o.properties).filter(({ id }) => id === 'unit');
    for (const unit of [defaults?.unit, ...units.map(({ value }) => value)]) judgeUnit(unit).forEach(say);
    for (const { id } of panel.transformations ?? [])
      if (!transformers.has(id)) say(`Grafana has no transformation ${id}`);
    for (const { matcher } of overrides)
      if (!fieldMatchers.getIfExists(matcher.id)) say(`Grafana has no matcher ${matcher.id}`);
    const answers = given?.[file]?.[panel.id];
    if (answers === undefined) continue;
    drawn++;
    (await judgeData(panel, answers)).forEach(say);
  }
}
for (const line of lines) console.log(line);
console.log(`${panels} panels, ${drawn} of them with data: ${lines.length} faults`);
process.exit(lines.length === 0 ? 0 : 1);
