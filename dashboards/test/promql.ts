/** What tests have to know of PromQL and of the way Grafana fills queries in. */
import type { SyntaxNode } from '@lezer/common';
import { parser } from '@prometheus-io/lezer-promql';

/** Values with which a query is filled in. */
export interface Filling {
  /** Seconds of the time range. */
  rangeSeconds: number;
  /** What each variable stands for: all choices of a multi-value one, or the value that it has for All. */
  variables: Readonly<Record<string, readonly string[] | string>>;
}

/** Scrape interval that the data source is told (jsonData.timeInterval), seconds. */
export const SCRAPE_SECONDS = 1;

/** $__rate_interval at a step of one second: max(step + scrape, 4 scrapes), as Grafana works it out. */
export const RATE_INTERVAL = `${4 * SCRAPE_SECONDS}s`;

/** Fills in $variables as Grafana's Prometheus data source does: several values become (a|b) with each one escaped;
 *  what is no variable ($1 of label_replace) stays. */
export function fill(expr: string, filling: Filling): string {
  const builtIn: Record<string, string> = {
    __rate_interval: RATE_INTERVAL,
    __interval: `${SCRAPE_SECONDS}s`,
    __range: `${Math.ceil(filling.rangeSeconds)}s`,
    __range_s: `${Math.ceil(filling.rangeSeconds)}`,
  };
  return expr.replace(/\$(\w+)|\$\{(\w+)\}/g, (whole, plain: string | undefined, braced: string | undefined) => {
    const name = plain ?? braced ?? '';
    const value: string | readonly string[] | undefined = Object.hasOwn(builtIn, name)
      ? builtIn[name]
      : filling.variables[name];
    if (value === undefined) return whole;
    if (typeof value === 'string') return value;
    return value.length === 1 ? escapeRegex(value[0]) : `(${value.map(escapeRegex).join('|')})`;
  });
}

/** In a string of a regular expression: both the expression's and the string's own special characters. */
const escapeRegex = (value: string): string => value.replace(/\\/g, '\\\\\\\\').replace(/[$^*{}[\]'+?.()|]/g, '\\\\$&');

/** What a query is made of, by Prometheus' own grammar. */
export interface Query {
  /** Names of the metrics and recording rules that it reads, each once. */
  metrics: string[];
  /** Functions that are given a window, with it as it is written: `[1m]` gives "1m", `[$__range]` gives "$__range". */
  windows: { fn: string; window: string }[];
  /** Where it is no PromQL: the text there. Empty when it is. */
  errors: string[];
}

/** Reads a query, filled in or not: a variable outside a string stands for a duration. */
export function readQuery(expr: string): Query {
  const variables: string[] = [];
  const plain = expr.replace(STRING_OR_VARIABLE, (text) =>
    text.startsWith('$') ? standIn(variables.push(text) - 1) : text,
  );
  const text = (from: number, to: number): string =>
    plain.slice(from, to).replace(STAND_IN, (_all, i: string) => variables[Number(i)]);
  const metrics = new Set<string>();
  const windows: Query['windows'] = [];
  const errors: string[] = [];
  parser.parse(plain).iterate({
    enter: (node) => {
      if (node.type.isError) errors.push(text(Math.max(0, node.from - 10), node.to + 10));
      if (node.name === 'VectorSelector') metrics.add(metricOf(node.node, text));
      if (node.name === 'MatrixSelector') {
        const { from, to } = node.node.lastChild!;
        windows.push({ fn: functionAbove(node.node, text), window: text(from, to) });
      }
    },
  });
  return { metrics: [...metrics], windows, errors };
}

/** A string's text is not PromQL's concern; a variable outside one is no PromQL. */
const STRING_OR_VARIABLE = /"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|\$\w+|\$\{\w+\}/g;
/** A duration that nobody writes, with the variable's number in it. */
const standIn = (i: number): string => `${i}00000000000007s`;
const STAND_IN = /(\d+)00000000000007s/g;

type Text = (from: number, to: number) => string;

/** The name before the braces, or that of the matcher of `__name__`. */
function metricOf(selector: SyntaxNode, text: Text): string {
  const { firstChild } = selector;
  if (firstChild?.name === 'Identifier') return text(firstChild.from, firstChild.to);
  const found = /__name__\s*=\s*["']([^"']*)["']/.exec(text(selector.from, selector.to));
  return found?.[1] ?? text(selector.from, selector.to);
}

/** The function around a selector, through offsets and parentheses. */
function functionAbove(node: SyntaxNode, text: Text): string {
  for (let at = node.parent; at !== null; at = at.parent) {
    const called = at.name === 'FunctionCall' ? at.getChild('FunctionIdentifier') : null;
    if (called) return text(called.from, called.to);
  }
  return '';
}

/** label_values(metric, label): what Grafana asks for as a variable's choices. */
export function labelValues(query: string): { metric: string; label: string } | null {
  const found = /^label_values\(([^,]+),\s*(\w+)\)$/.exec(query);
  return found ? { metric: found[1], label: found[2] } : null;
}
