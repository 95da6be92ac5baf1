import t from 'tap';
import { readFileSync, readdirSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const CODE = /\bH[1-9]\d?\b/g;

/** Sources of all tests: path to text. */
function sources(): Map<string, string> {
  const out = new Map<string, string>();
  const below = (dir: string): string[] => readdirSync(join(ROOT, dir)).map((name) => `${dir}/${name}`);
  for (const part of [...below('shared'), ...below('services'), 'load']) {
    const dir = join(ROOT, part, 'test');
    for (const name of readdirSync(dir, { recursive: true, encoding: 'utf8' }))
      if (name.endsWith('.test.ts')) out.set(relative(ROOT, join(dir, name)), readFileSync(join(dir, name), 'utf8'));
  }
  return out;
}

/** Codes that a text's string literals name: titles of tests. */
const codesIn = (text: string): Set<string> =>
  new Set(
    [...text.matchAll(/(['"`])(?:(?!\1).)*\bH[1-9]\d?\b(?:(?!\1).)*\1/g)].flatMap(([title]) => title.match(CODE) ?? []),
  );

t.test(
  'each rule of docs/security.md has tests that name it, where it says; each code in a test is a rule there',
  (t) => {
    const rules = new Map<string, string[]>();
    for (const line of readFileSync(join(ROOT, 'docs/security.md'), 'utf8').split('\n')) {
      const [, code, , , tests] = line.split('|').map((cell) => cell.trim());
      if (/^H\d+$/.test(code ?? ''))
        rules.set(
          code,
          [...(tests ?? '').matchAll(/`([^`]+)`/g)].map((m) => m[1]),
        );
    }
    t.same(
      [...rules.keys()],
      Array.from({ length: 44 }, (_, i) => `H${i + 1}`),
    );
    const named = new Map([...sources()].map(([file, text]) => [file, codesIn(text)]));
    for (const [code, files] of rules) {
      t.ok(files.length > 0, `${code} has a test`);
      for (const file of files) t.ok(named.get(file)?.has(code), `${file} names ${code} in a title`);
    }
    const strangers = [...named].flatMap(([file, codes]) =>
      [...codes].filter((c) => !rules.has(c)).map((c) => `${file}: ${c}`),
    );
    t.same(strangers, []);
    t.end();
  },
);
