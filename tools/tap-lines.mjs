// Tells of a TAP stream what a person wants to see: a line for each file as it ends, every failure with its path and details,
// every skip with its reason, a summary. Tap's own reporters draw on a terminal and, without one, can end in silence.
import { Parser } from 'tap-parser';

/** @typedef {import('tap-parser').Result} Result */

const INDENT = '       ';
const DIAGNOSTIC_LINES = 40;

/** @typedef {{ passed: number, failed: number, skipped: number }} Tally */
const KINDS = /** @type {const} */ (['passed', 'failed', 'skipped']);

/** @param {NodeJS.ReadableStream} tap @param {(line: string) => void} say
 *  @returns {Promise<Tally>} of assertions, once the stream has ended */
export function tellTap(tap, say) {
  const total = { passed: 0, failed: 0, skipped: 0 };
  return new Promise((done) => {
    const root = new Parser(() => done(total));
    let seen = { passed: 0, failed: 0, skipped: 0 };
    /** @type {string[]} */
    let details = [];
    root.on('child', (file) => follow(file, [], seen, details));
    root.on('assert', (result) => {
      // A file that is killed, or throws before its first test, fails without an assertion that does.
      if (!result.ok && seen.failed === 0) note(result, [], seen, details);
      say(`${result.ok ? 'ok  ' : 'FAIL'} ${title(result.name)} (${seconds(result)}${seen.passed} assertions)`);
      for (const line of details) say(INDENT + line);
      for (const kind of KINDS) total[kind] += seen[kind];
      seen = { passed: 0, failed: 0, skipped: 0 };
      details = [];
    });
    root.on('bailout', (reason) => say(`FAIL bail out: ${reason}`));
    tap.pipe(root);
  });
}

/** @param {Parser} parser @param {string[]} path @param {Tally} seen @param {string[]} details */
function follow(parser, path, seen, details) {
  parser.on('child', (child) => follow(child, [...path, child.name], seen, details));
  parser.on('assert', (result) => {
    if (result.skip) {
      seen.skipped++;
      details.push(`skipped: ${[...path, result.name].join(' > ')}${result.skip === true ? '' : `: ${result.skip}`}`);
    } else if (result.ok || result.todo) seen.passed++;
    // Of a test whose assertions have been told, no more than that.
    else if (seen.failed === 0 || !isOfSubtest(result)) note(result, path, seen, details);
  });
  parser.on('bailout', (reason) => details.push(`bail out: ${reason}`));
}

/** @param {Result} result @param {string[]} path @param {Tally} seen @param {string[]} details */
function note(result, path, seen, details) {
  seen.failed++;
  details.push(`failed: ${[...path, result.name].join(' > ')}`);
  const { diff = '', at, ...rest } = result.diag ?? {};
  if (at !== undefined) details.push(`  at ${at.fileName}:${at.lineNumber}`);
  for (const bulky of ['source', 'stack']) if (diff !== '') delete rest[bulky];
  const lines = [...JSON.stringify(rest, null, 2).split('\n').slice(1, -1), ...diff.trimEnd().split('\n')];
  details.push(...lines.filter(Boolean).slice(0, DIAGNOSTIC_LINES));
}

/** @param {Result} result */
const isOfSubtest = (result) =>
  result.time !== null && result.diag?.at === undefined && result.diag?.error === undefined;

/** @param {string} name such as shared/dist/test/ring.test.js */
const title = (name) => name.replace('/dist/test/', '/').replace(/\.test\.js$/, '');

/** @param {Result} result */
const seconds = (result) => (typeof result.time === 'number' ? `${(result.time / 1000).toFixed(1)} s, ` : '');
