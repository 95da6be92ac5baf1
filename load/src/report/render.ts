/** A report as HTML - one file with everything in it, no script, nothing fetched - and as Markdown with links to the plots. Pure. */
import { linkTo, type ReportDocument } from './document.js';
import type { Section, DataTable } from './tables.js';
import { css, markup, type Markup } from './markup.js';
import { MUTED, RULE, SURFACE, TEXT, type Tone } from './palette.js';
import { FONT, plotStyle, renderPlot } from './svg.js';

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
    ...[settings, ...headline.remarks].map(md),
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

/** As a block of lines, its caption first. */
export function tableMarkdown(t: DataTable): string {
  const row = (cells: readonly string[]): string => `| ${cells.map(md).join(' | ')} |`;
  return [
    `${md(t.caption)}:`,
    '',
    row(t.columns.map((c) => c.head)),
    `| ${t.columns.map((c) => (c.align === 'right' ? '---:' : '---')).join(' | ')} |`,
    ...t.rows.map(row),
  ].join('\n');
}

const variables = (theme: keyof Tone): string =>
  `:root{--bg:${SURFACE[theme]};--text:${TEXT[theme]};--muted:${MUTED[theme]};--rule:${RULE[theme]}}`;

const pageStyle = [
  variables('light'),
  ':root{color-scheme:light dark}',
  `@media screen and (prefers-color-scheme:dark){${variables('dark')}}`,
  `body{margin:0 auto;padding:2.5rem 1.25rem 4rem;max-width:54rem;background:var(--bg);color:var(--text);font:16px/1.5 ${FONT}}`,
  'h1{font-size:.95rem;font-weight:600;color:var(--muted);margin:0}',
  '.lead{font-size:1.9rem;line-height:1.2;font-weight:650;letter-spacing:-.01em;margin:.4rem 0 .6rem;text-wrap:balance}',
  '.sub{color:var(--muted);margin:.15rem 0}',
  'nav{margin:1.2rem 0 0;font-size:.9rem}nav ul{list-style:none;display:flex;flex-wrap:wrap;gap:.2rem 1.1rem;margin:0;padding:0}',
  'a{color:inherit;text-underline-offset:.15em;text-decoration-color:var(--muted)}',
  'a:focus-visible,.scroll:focus-visible{outline:2px solid var(--text);outline-offset:2px}',
  'h2{font-size:1.2rem;margin:2.6rem 0 .5rem;padding-top:.9rem;border-top:1px solid var(--rule)}',
  'p{margin:.5rem 0;max-width:46rem}',
  'figure{margin:1rem 0}figcaption{font-size:.86rem;color:var(--muted);max-width:46rem;margin-top:.3rem}',
  '.scroll{overflow-x:auto;margin:1.1rem 0}.scroll svg{display:block;width:100%;min-width:40rem;height:auto}',
  'table{border-collapse:collapse;font-size:.86rem;line-height:1.35;font-variant-numeric:tabular-nums lining-nums}',
  'caption{text-align:left;font-weight:600;padding-bottom:.35rem}',
  'th,td{padding:.28rem .9rem .28rem 0;vertical-align:top;text-align:left;border-bottom:1px solid var(--rule)}',
  'thead th{font-weight:500;color:var(--muted);vertical-align:bottom;border-bottom-color:var(--muted)}',
  'tbody th{font-weight:500}.n{text-align:right;white-space:nowrap}td:not(.n){overflow-wrap:anywhere;min-width:7rem}',
  '@media print{body{max-width:none;padding:0;font-size:10.5pt}nav{display:none}h2,figure,tr{break-inside:avoid}h2,caption{break-after:avoid}.scroll{overflow:visible}.scroll svg{min-width:0}}',
].join('\n');

/** The whole page. */
export function reportHtml(doc: ReportDocument): string {
  const { title, headline, settings, sections, data } = doc;
  const links = [...sections, { id: 'data', title: 'Raw data' }];
  return markup`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8"/>
<meta name="viewport" content="width=device-width, initial-scale=1"/>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"/>
<title>${title}: ${headline.lead}</title>
<style>
${css(pageStyle)}
${css(plotStyle)}
</style>
</head>
<body>
<header>
<h1>${title}</h1>
<p class="lead">${headline.lead}</p>
${[settings, ...headline.remarks].map((s) => markup`<p class="sub">${s}</p>\n`)}<nav aria-label="Sections"><ul>
${links.map((s) => markup`<li><a href="#${s.id}">${s.title}</a></li>\n`)}</ul></nav>
</header>
<main>
${sections.map(sectionHtml)}<section aria-labelledby="data">
<h2 id="data">Raw data</h2>
<ul>
${data.map((d) => markup`<li><a href="${linkTo(d.path)}">${d.label}</a></li>\n`)}</ul>
</section>
</main>
</body>
</html>
`.text;
}

function sectionHtml(s: Section): Markup {
  return markup`<section aria-labelledby="${s.id}">
<h2 id="${s.id}">${s.title}</h2>
${s.lines.map((line) => markup`<p>${line}</p>\n`)}${s.figure === null ? null : figureHtml(s.figure)}${s.tables.map(tableHtml)}</section>
`;
}

function figureHtml({ plot, caption }: NonNullable<Section['figure']>): Markup {
  return markup`<figure>
<div class="scroll" tabindex="0" role="group" aria-label="${plot.title}">${renderPlot(plot, 'inline')}</div>
<figcaption>${caption}</figcaption>
</figure>
`;
}

function tableHtml(t: DataTable): Markup {
  const side = (i: number): Markup | null => (t.columns[i].align === 'right' ? markup` class="n"` : null);
  const head = t.columns.map((c, i) =>
    c.head === '' ? markup`<td></td>` : markup`<th scope="col"${side(i)}>${c.head}</th>`,
  );
  const rows = t.rows.map((row) => {
    const cells = row.map((cell, i) =>
      i === 0 ? markup`<th scope="row">${cell}</th>` : markup`<td${side(i)}>${cell}</td>`,
    );
    return markup`<tr>${cells}</tr>\n`;
  });
  return markup`<div class="scroll" tabindex="0" role="group" aria-label="${t.caption}"><table>
<caption>${t.caption}</caption>
<thead><tr>${head}</tr></thead>
<tbody>
${rows}</tbody>
</table></div>
`;
}
