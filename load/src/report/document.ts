/** A report as data: sections of sentences, a figure and tables. HTML and Markdown are made from the same. Pure. */
import { counted, listed } from '../base/format.js';
import type { Model } from './model.js';
import {
  orderLines,
  bottleneckLines,
  faultsOf,
  gainLines,
  guestsLines,
  headlineOf,
  intervalLine,
  latencyLine,
  settingsLine,
  type Headline,
} from './story.js';
import { PAPER_ORDER, PAPER_TITLE } from './paper.js';
import type { Source } from './read.js';
import { cpuPlot } from './plot-cpu.js';
import { guestsPlot, throughputPlot } from './plot-throughput.js';
import { latencyPlot } from './plot-latency.js';
import { dateOf, factorsTable, mixLines, notedLines, notedTable, provenanceTable } from './provenance.js';
import {
  lossTable,
  section,
  trustTable,
  type Section,
  componentTable,
  cpuTable,
  guestsTable,
  latencyTable,
  operationsTable,
  paperTable,
  throughputTable,
} from './tables.js';
import { requestHeadline, requestRows, requestSection } from './requests.js';

export interface ReportDocument {
  title: string;
  headline: Headline;
  settings: string;
  sections: readonly Section[];
  /** Files beside the report, relative to it. */
  data: readonly { path: string; label: string }[];
}

const present = <T>(...all: readonly (T | null)[]): T[] => all.filter((x): x is T => x !== null);

/** @param ladders the model of each ladder, when several were measured; else `m` alone
 *  @param csv whether report.csv stands beside the report */
export function documentOf(m: Model, ladders: readonly Model[], csv: boolean): ReportDocument {
  const requests = requestRows(m);
  const headline = headlineOf(ladders[0]);
  return {
    title: `Grantline comparison of ${dateOf(m.sources[0].file.date)}`,
    headline:
      requests.length > 0
        ? requestHeadline(requests, faultsOf(m))
        : { ...headline, remarks: [...headline.remarks, ...ladders.slice(1).flatMap(gainLines)] },
    settings: settingsLine(m),
    sections:
      requests.length > 0
        ? // What frames delivered says nothing of round trips.
          [requestSection(requests), ...ofAll(m)]
        : [...ladders.flatMap(ladderSections), ...ofAll(m)],
    data: [
      ...m.sources.map(dataOf),
      ...(csv ? [{ path: 'report.csv', label: 'report.csv: one row for each run' }] : []),
    ],
  };
}

/** What one ladder delivered, and what it cost. */
function ladderSections(m: Model): Section[] {
  const latency = latencyPlot(m);
  const guestRows = guestsTable(m);
  const several = m.main.some((g) => g.runs.length > 1);
  const ofPaper = m.main.some((g) => g.median.direction === 'rx');
  const sections = present<Section>(
    section('throughput', 'Throughput', {
      figure: throughputPlot(m),
      caption: throughputCaption(m, several, ofPaper),
      tables: [throughputTable(m)],
    }),
    ofPaper
      ? section('paper', 'Beside the paper', {
          lines: [
            ...orderLines(m, PAPER_ORDER),
            `The paper's abstract has two figures; the steps between them are not quoted here. Its 10 Gb/s was the whole link, so its gain is a lower bound of what its optimisations are worth. ${PAPER_TITLE}.`,
          ],
          tables: [paperTable(m)],
        })
      : null,
    section('cpu', 'Where the time goes', {
      lines: bottleneckLines(m),
      figure: cpuPlot(m),
      caption: `CPU time for each delivered frame, of the median run. The NIC and the generator stand for hardware: they are shown apart and are in no sum. Looking for work with none there (idle) is no frame's cost and is left out.`,
      tables: [cpuTable(m), componentTable(m)],
    }),
    section('operations', 'What a frame takes', {
      lines: [`Counted, not sampled; of the median run${several ? ' of each configuration' : ''}.`],
      tables: [operationsTable(m)],
    }),
    latency &&
      section('latency', 'Latency', {
        lines: present(latencyLine(m)),
        figure: latency,
        caption: 'Of the median run; each mark is a percentile of its frames.',
        tables: [latencyTable(m)],
      }),
    guestRows &&
      section('guests', 'More guests', {
        lines: guestsLines(m),
        figure: guestsPlot(m),
        caption: 'All guests together. Dots are runs, short bars medians, upright lines their intervals.',
        tables: [guestRows],
      }),
  );
  const { ladder } = m;
  if (ladder === null) return sections;
  return sections.map((s) => ({ ...s, id: `${s.id}${ladder.file}`, title: `${s.title}: ${ladder.title}` }));
}

function throughputCaption(m: Model, several: boolean, ofPaper: boolean): string {
  return [
    `Every dot is a run, ${several ? 'the first at the top of its row; ' : ''}the upright bar is the median${m.noted.length > 0 ? '; hollow dots are runs with a note' : ''}.`,
    ...(several ? [intervalLine(m)] : []),
    ...(ofPaper ? ['Dashed: what the paper reports.'] : []),
    m.lineGbps === null
      ? 'The link is unlimited, so there is no line rate.'
      : 'The line rate counts what the table counts: frames with their Ethernet header, without FCS, preamble and gap.',
  ].join(' ');
}

/** Sections of every report. */
function ofAll(m: Model): Section[] {
  return [
    section('sound', 'Is anything missing?', { tables: [lossTable(m), trustTable(m)] }),
    section('void', 'What is doubtful', { lines: [...notedLines(m), ...mixLines(m)], tables: [notedTable(m)] }),
    section('settings', 'Machine and settings', { tables: [factorsTable(m), provenanceTable(m)] }),
  ];
}

function dataOf({ path, file }: Source): { path: string; label: string } {
  const guests = [...new Set(file.runs.map((r) => counted(r.guests, 'guest')))];
  const raw = file.runs.every((r) => r.raw !== undefined) ? ', with its raw counters' : '';
  return { path, label: `${path}: every run with ${listed(guests)}${raw}` };
}

/** A path below the report as a link: nothing in it can be taken for a scheme or end the link. */
export const linkTo = (path: string): string =>
  `./${path
    .split('/')
    .map((part) => encodeURIComponent(part).replace(/[()'!*]/g, (c) => `%${c.charCodeAt(0).toString(16)}`))
    .join('/')}`;
