import t from 'tap';
import { execFileSync, spawn } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { checkTarget, replaceFile, stageFile, targetOf, writeUserFile } from '../../src/base/user-file.js';
import { writeReport } from '../../src/report/write.js';
import { OutFile, openOut } from '../../src/capture/out-file.js';

const MODULE = new URL('../../src/base/user-file.js', import.meta.url).href;

/** A child that writes `text` to what `path` names, its standard output being `stdout`. */
function child(path: string, text: string, stdout: 'pipe' | number) {
  const code = `const m = await import(${JSON.stringify(MODULE)}); await m.writeUserFile(${JSON.stringify(path)}, ${text}, '--json'); process.stderr.write('done');`;
  return spawn(process.execPath, ['--input-type=module', '-e', code], { stdio: ['ignore', stdout, 'pipe'] });
}

const text = async (stream: NodeJS.ReadableStream): Promise<string> => {
  let all = '';
  for await (const part of stream) all += String(part);
  return all;
};

t.test('a regular file is replaced whole where it really lies: links to it stay, its mode stays', async (t) => {
  const dir = t.testdir({ real: { 'a.json': 'old' }, here: {} });
  const file = join(dir, 'real', 'a.json');
  chmodSync(file, 0o640);
  symlinkSync('../real/a.json', join(dir, 'here', 'link'));
  symlinkSync('link', join(dir, 'here', 'link-to-link'));
  symlinkSync(join(dir, 'here'), join(dir, 'folder'));
  for (const path of ['here/link', 'here/link-to-link', 'folder/link-to-link', 'real/a.json']) {
    await writeUserFile(join(dir, path), path, '--json');
    t.equal(readFileSync(file, 'utf8'), path);
    t.equal(statSync(file).mode & 0o7777, 0o640);
  }
  t.equal(readlinkSync(join(dir, 'here', 'link')), '../real/a.json');
  t.ok(lstatSync(join(dir, 'folder')).isSymbolicLink());
  t.same(readdirSync(join(dir, 'real')), ['a.json'], 'nothing else is left');

  symlinkSync('../real/new.json', join(dir, 'here', 'to-none'));
  await writeUserFile(join(dir, 'folder', 'to-none'), 'new', '--json');
  t.equal(
    readFileSync(join(dir, 'real', 'new.json'), 'utf8'),
    'new',
    'what a link names that is not there yet is made there',
  );
  t.ok(lstatSync(join(dir, 'here', 'to-none')).isSymbolicLink());
  await writeUserFile(join(dir, 'more', 'folders', 'x'), 'x', '--json');
  t.equal(readFileSync(join(dir, 'more', 'folders', 'x'), 'utf8'), 'x');
});

t.test('what is staged and dropped leaves nothing; a reader never sees half', (t) => {
  const dir = t.testdir({ a: 'old' });
  const staged = stageFile(join(dir, 'a'), 'new');
  t.equal(readFileSync(join(dir, 'a'), 'utf8'), 'old');
  staged.drop();
  t.same(readdirSync(dir), ['a']);
  replaceFile(join(dir, 'a'), 'new');
  t.equal(readFileSync(join(dir, 'a'), 'utf8'), 'new');
  t.end();
});

t.test('what cannot be written is found before, in one line', async (t) => {
  const dir = t.testdir({ folder: {}, file: 'x', report: { 'compare.json': '{}' } });
  symlinkSync('loop', join(dir, 'loop'));
  // The path of a socket has room for a hundred characters.
  const short = mkdtempSync(join(tmpdir(), 'g-'));
  t.teardown(() => rmSync(short, { recursive: true }));
  const server = createServer().listen(join(short, 'socket'));
  await new Promise((done) => server.once('listening', done));
  t.teardown(() => server.close());
  t.throws(() => checkTarget(join(dir, 'folder'), '--json'), /it is a directory.*give --json the name of a file/);
  t.throws(() => checkTarget(join(dir, 'loop'), '--json'), /ELOOP/);
  t.throws(() => checkTarget(join(short, 'socket'), '--out'), /it is a socket.*--out/);
  t.throws(() => checkTarget(join(dir, 'file', 'below'), '--json'), /cannot write .*ENOTDIR/);
  t.throws(() => checkTarget('/proc/none/x', '--json'), /cannot write/);
  t.throws(() => checkTarget('/dev/fd/900', '--json'), /cannot write .*EBADF/);
  if (process.getuid?.() !== 0) {
    chmodSync(join(dir, 'file'), 0o444);
    t.throws(() => checkTarget(join(dir, 'file'), '--json'), /EACCES/);
  }
  t.throws(() => writeReport(join(dir, 'report'), { csv: false }), /compare.json/);
});

t.test("the command's own descriptors are used, by whatever name", (t) => {
  const dir = t.testdir({});
  symlinkSync('/dev/stdout', join(dir, 'out'));
  for (const path of [
    '-',
    '/dev/stdout',
    '/dev/fd/1',
    '/proc/self/fd/1',
    `/proc/${process.pid}/fd/1`,
    join(dir, 'out'),
  ])
    t.same(targetOf(path, '--json'), { kind: 'descriptor', fd: 1 }, path);
  t.same(targetOf('/dev/stderr', '--json'), { kind: 'descriptor', fd: 2 });
  t.match(targetOf('/dev/null', '--json'), { kind: 'special' });
  t.end();
});

t.test(
  'to the standard output: a pipe, a socket (children of Node have one), a file that is appended to',
  async (t) => {
    const dir = t.testdir({ all: 'keep\n' });
    const big = "'x'.repeat(300_000)";
    for (const path of ['-', '/dev/stdout']) {
      const socket = child(path, big, 'pipe');
      t.equal((await text(socket.stdout!)).length, 300_000, `${path}: a socket`);
      const shell = `${process.execPath} --input-type=module -e 'const m = await import("${MODULE}"); await m.writeUserFile("${path}", "x".repeat(300000), "--json")' | (sleep 0.3; wc -c)`;
      t.equal(
        execFileSync('/bin/sh', ['-c', shell], { encoding: 'utf8' }).trim(),
        '300000',
        `${path}: a pipe, read late`,
      );
      const file = child(path, "'more\\n'", openSync(join(dir, 'all'), 'a'));
      await new Promise((done) => file.once('exit', done));
    }
    t.equal(readFileSync(join(dir, 'all'), 'utf8'), 'keep\nmore\nmore\n');
  },
);

t.test('a reader that goes away ends it quietly', async (t) => {
  const one = child('-', "'x'.repeat(3_000_000)", 'pipe');
  const said = text(one.stderr!);
  one.stdout!.once('data', () => one.stdout!.destroy());
  const code = await new Promise((done) => one.once('close', done));
  t.equal(await said, 'done');
  t.equal(code, 0);
});

t.test('a FIFO stays one; nobody is held up before it has a reader', async (t) => {
  const dir = t.testdir({});
  const fifo = join(dir, 'fifo');
  execFileSync('mkfifo', [fifo]);
  checkTarget(fifo, '--json');
  let waited = 0;
  const writing = writeUserFile(fifo, 'y'.repeat(200_000), '--json', () => waited++);
  await new Promise((done) => setTimeout(done, 120));
  t.equal(waited, 1, 'timers go on meanwhile');
  const reader = spawn('cat', [fifo], { stdio: ['ignore', 'pipe', 'ignore'] });
  t.equal((await text(reader.stdout)).length, 200_000);
  await writing;
  t.ok(statSync(fifo).isFIFO());
  const abort = new AbortController();
  const capture = openOut(fifo, () => abort.abort(), abort.signal);
  await t.rejects(capture, { name: 'AbortError' }, 'a capture that waits for a reader can be ended');
});

t.test('a device stays one', async (t) => {
  await writeUserFile('/dev/null', 'x', '--json');
  t.ok(statSync('/dev/null').isCharacterDevice());
  const dir = t.testdir({});
  symlinkSync('/dev/full', join(dir, 'full'));
  await t.rejects(writeUserFile(join(dir, 'full'), 'x', '--json'), /no room is left for .*full/);
  t.ok(lstatSync(join(dir, 'full')).isSymbolicLink());
});

t.test('a capture goes into the file that a link names, and behind what an open file holds', async (t) => {
  const dir = t.testdir({ real: 'old', all: 'keep' });
  symlinkSync('real', join(dir, 'link'));
  const never = new AbortController().signal;
  const out = await openOut(join(dir, 'link'), () => {}, never);
  out.add(Buffer.from('new'));
  await out.close();
  t.equal(readFileSync(join(dir, 'real'), 'utf8'), 'new');
  t.ok(lstatSync(join(dir, 'link')).isSymbolicLink());
  const own = new OutFile('all', 0, 0, openSync(join(dir, 'all'), 'a'));
  own.add(Buffer.from('more'));
  own.close();
  t.equal(readFileSync(join(dir, 'all'), 'utf8'), 'keepmore');
  mkdirSync(join(dir, 'sub'));
  writeFileSync(join(dir, 'sub', 'f'), '');
  await t.rejects(
    openOut(join(dir, 'sub'), () => {}, never),
    /it is a directory/,
  );
  t.notOk(existsSync(join(dir, '.part')));
});
