/** report.md: the same report with links to the plots. Pure. */
import { linkTo, type ReportDocument } from './document.js';
import type { Section } from './section.js';
import type { DataTable } from './tables.js';

/** Text that Markdown shows as it is, on one line: no element, link, table cell or emphasis comes of it. */
export function escapeMarkdown(text: string): string {
  return text
    .replace(/[\r\n\t]+/g, ' ')
    .replace(/[&<>]/g, (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;' })[c] ?? c)
    .replace(/[\\`*_[\]|~#]/g, (c) => `\\${c}`);
}

const md = escapeMarkdown;

/** The whole file. */
export function reportMarkdown(doc: ReportDocument): string {
  const { title, headline, settings, sections, data } = doc;
  const blocks = [
    `# ${md(title)}`,
    `**${md(headline.lead)}**`,
    ...[settings, ...headline.rest].map(md),
    ...sections.flatMap(sectionMarkdown),
    '## Raw data',
    data.map((d) => `- [${md(d.label)}](${linkTo(d.path)})`).join('\n'),
  ];
  return `${blocks.join('\n\n')}\n`;
}

function sectionMarkdown(s: Section): string[] {
  return [
    `## ${md(s.title)}`,
    ...s.lines.map(md),
    ...(s.figure === null
      ? []
      : [
          `![${md(`${s.figure.plot.title}. ${s.figure.plot.desc}`)}](${linkTo(`${s.figure.plot.name}.svg`)})`,
          md(s.figure.caption),
        ]),
    ...s.tables.map(tableMarkdown),
  ];
}

function tableMarkdown(t: DataTable): string {
  const row = (cells: readonly string[]): string => `| ${cells.map(md).join(' | ')} |`;
  return [
    `${md(t.caption)}:`,
    '',
    row(t.columns.map((c) => c.head)),
    `| ${t.columns.map((c) => (c.align === 'right' ? '---:' : '---')).join(' | ')} |`,
    ...t.rows.map(row),
  ].join('\n');
}
