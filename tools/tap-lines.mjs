// Tells of a test file's TAP what a person wants to see: a line as it ends, every failure with its path and details, every skip
// with its reason.
import { Parser } from 'tap-parser';

/** @typedef {import('tap-parser').Result} Result */

const INDENT = '       ';
const DIAGNOSTIC_LINES = 40;

/** @typedef {{ passed: number, failed: number, skipped: number }} Tally */

/** @param {string} file such as shared/xen/dist/test/ring/ring.prop.test.js @param {NodeJS.ReadableStream} tap what it prints
 *  @param {Promise<string | null>} ended how it ended; null: as it should
 *  @param {(line: string) => void} say @returns {Promise<Tally>} of assertions */
export async function tellTap(file, tap, ended, say) {
  const started = Date.now();
  const seen = { passed: 0, failed: 0, skipped: 0 };
  /** @type {string[]} */
  const details = [];
  /** @type {import('tap-parser').FinalResults} */
  const results = await new Promise((done) => {
    const parser = new Parser(done);
    follow(parser, [], seen, details);
    tap.pipe(parser);
  });
  const how = await ended;
  // A file that is killed, or throws before its first test, fails without an assertion that does.
  const wrong = how ?? (results.ok ? null : results.bailout ? 'bailed out' : 'its TAP is not as planned');
  if (seen.failed === 0 && wrong !== null) {
    seen.failed++;
    details.push(`failed: ${wrong}`);
  }
  const seconds = ((Date.now() - started) / 1000).toFixed(1);
  const title = file.replace('/dist/test/', '/').replace(/\.test\.js$/, '');
  say(`${seen.failed === 0 ? 'ok  ' : 'FAIL'} ${title} (${seconds} s, ${seen.passed} assertions)`);
  for (const line of details) say(INDENT + line);
  return seen;
}

/** @param {Parser} parser @param {string[]} path @param {Tally} seen @param {string[]} details */
function follow(parser, path, seen, details) {
  parser.on('child', (child) => follow(child, [...path, child.name], seen, details));
  parser.on('assert', (result) => {
    if (result.skip) {
      seen.skipped++;
      details.push(`skipped: ${[...path, result.name].join(' > ')}${result.skip === true ? '' : `: ${result.skip}`}`);
    } else if (result.ok) seen.passed++;
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
