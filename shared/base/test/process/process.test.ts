import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { buildInfo, revisionOf } from '../../src/process/process.js';

t.test('the revision is that of the checkout, loose or packed; without one it is unknown', (t) => {
  const git = mkdtempSync(join(tmpdir(), 'grantline-test-'));
  t.teardown(() => rmSync(git, { recursive: true }));
  const sha = (digit: string): string => digit.repeat(40);
  mkdirSync(join(git, 'refs/heads'), { recursive: true });
  t.equal(revisionOf(git), null);
  writeFileSync(join(git, 'HEAD'), 'ref: refs/heads/main\n');
  writeFileSync(join(git, 'packed-refs'), `# pack-refs\n${sha('a')} refs/heads/main\n`);
  t.equal(revisionOf(git), sha('a'));
  writeFileSync(join(git, 'refs/heads/main'), `${sha('b')}\n`);
  t.equal(revisionOf(git), sha('b'));
  writeFileSync(join(git, 'HEAD'), `${sha('c')}\n`);
  t.equal(revisionOf(git), sha('c'));
  t.end();
});

t.test("a build in a checkout knows its repository's revision", (t) => {
  const root = join(import.meta.dirname, '../../../../..');
  const git = join(root, '.git/HEAD');
  t.ok(existsSync(join(root, 'package-lock.json')), 'this is the repository');
  // An archive of the sources has none.
  if (existsSync(git)) t.equal(buildInfo().revision, revisionOf(join(root, '.git')));
  t.end();
});
