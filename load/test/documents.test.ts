/** Documents are held to the code: what they name is there. What they say of it, readers have to judge. */
import t from 'tap';
import { readFileSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { CONFIGURATIONS } from '@grantline/base';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
/** Not of the repository: installed, built, measured. */
const NOT_OURS = new Set(['node_modules', 'dist', '.git', '.cache', '.tap', 'results']);

/** All files of the repository, by path from its root; folders end in a slash. */
const paths = new Set<string>();
function walk(dir: string): void {
  for (const entry of readdirSync(join(ROOT, dir), { withFileTypes: true })) {
    const path = `${dir}${entry.name}`;
    if (dir === '' && NOT_OURS.has(entry.name)) continue;
    if (entry.name === 'node_modules' || entry.name === 'dist') continue;
    if (!entry.isDirectory()) paths.add(path);
    else {
      paths.add(`${path}/`);
      walk(`${path}/`);
    }
  }
}
walk('');
const text = (path: string): string => readFileSync(join(ROOT, path), 'utf8');
const files = (pattern: RegExp): string[] => [...paths].filter((path) => pattern.test(path)).sort();
const pages = files(/\.md$/);
/** Names of files, without their folders. */
const names = new Set([...paths].map((path) => path.split('/').at(-1)));

/** A page's lines without fenced and indented code: in those stand pictures, commands and paths of other machines. */
function prose(page: string): string[] {
  let fenced = false;
  return text(page)
    .split('\n')
    .map((line) => {
      const isFence = /^\s*```/.test(line);
      if (isFence) fenced = !fenced;
      return fenced || isFence || line.startsWith('    ') ? '' : line;
    });
}

/** Names of a page's headings, as GitHub makes them. */
function anchors(page: string): Set<string> {
  const out = new Set<string>();
  for (const line of prose(page)) {
    const heading = /^#+ +(.*?) *#*$/.exec(line)?.[1];
    if (heading === undefined) continue;
    const words = heading.replace(/\[([^\]]*)\]\([^)]*\)/g, '$1').toLowerCase();
    const slug = words.replace(/[^\p{L}\p{N}\s_-]/gu, '').replace(/\s/g, '-');
    let name = slug;
    for (let n = 1; out.has(name); n++) name = `${slug}-${n}`;
    out.add(name);
  }
  return out;
}

const exists = (path: string): boolean => path === '' || paths.has(path) || paths.has(`${path.replace(/\/$/, '')}/`);
/** Path from the root of what `to` means in `page`; null: outside of the repository. */
function from(page: string, to: string): string | null {
  const path = join(dirname(page), to);
  return path.startsWith('..') ? null : path === '.' ? '' : path;
}

/** What a page links to and is not there. */
function brokenLinks(page: string): string[] {
  const out: string[] = [];
  prose(page).forEach((line, i) => {
    for (const [, to] of line.replace(/`[^`]*`/g, '').matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^[a-z]+:/.test(to)) continue;
      const [file, anchor] = to.split('#');
      const path = file === '' ? page : from(page, decodeURIComponent(file));
      const isThere = path !== null && exists(path) && (anchor === undefined || anchors(path).has(anchor));
      if (!isThere) out.push(`${page}:${i + 1}: ${to}`);
    }
  });
  return out;
}

const TOP = '(?:shared|services|load|dashboards|docs|tools|[.]ci)/';
const SOURCE = '[.](?:ts|mjs|cjs|md|css)';

/** `a/{b,c}.ts` is two paths. */
function expand(path: string): string[] {
  const [whole, choice] = /\{([^{}]*)\}/.exec(path) ?? [];
  return whole === undefined ? [path] : choice.split(',').flatMap((one) => expand(path.replace(whole, one)));
}

/** Is there what a page calls so? From the root, from the page, or, as in "`data/rx-buffers.ts`", the end of a path: of the
 *  page's own package, if it stands in one. */
function isKnown(page: string, path: string): boolean {
  const home = /^(?:(?:shared|services)\/[^/]+|load|dashboards)\//.exec(page)?.[0] ?? '';
  const body = path
    .replace(/\/$/, '')
    .replace(/[.+]/g, '[$&]')
    .replace(/\*+/g, (stars) => (stars.length > 1 ? '.*' : '[^/]*'));
  const ends = new RegExp(`(?:^|/)${body}/?$`);
  if (new RegExp(`^${TOP}`).test(path)) return files(new RegExp(`^${body}/?$`)).length > 0;
  const beside = from(page, path);
  return (beside !== null && exists(beside)) || files(ends).some((p) => p.startsWith(home));
}

/** Words in backticks. Of several names with commas between them the later ones stand beside the first. */
function words(code: string): string[] {
  const [first, ...rest] = code.split(/,\s+/);
  const beside = (name: string): string =>
    first.includes('/') && !name.includes('/') ? join(dirname(first), name) : name;
  return [first, ...rest.map(beside)].flatMap((part) => part.split(/\s+/));
}

/** Paths in backticks: what has a source's name, starts at the root, or names a folder. */
function pathsIn(line: string): string[] {
  const isPath = new RegExp(
    `^(?:${TOP}[\\w.@{},*/-]+|(?:src|test|testkit)/[\\w.{},*/-]*|[\\w.@{},*-][\\w.@{},*/-]*${SOURCE})$`,
  );
  const all = [...line.matchAll(/`([^`]+)`/g)].flatMap(([, code]) => words(code));
  return all.filter((word) => isPath.test(word) && !/dist\//.test(word)).flatMap(expand);
}

const unknownPaths = (page: string): string[] =>
  prose(page).flatMap((line, i) =>
    pathsIn(line)
      .filter((path) => !isKnown(page, path))
      .map((path) => `${page}:${i + 1}: ${path}`),
  );

/** Numbers of sections, as in "## 3. The hypervisor socket". */
const sections = (page: string): Set<string> =>
  new Set(prose(page).flatMap((line) => /^## (\d+)\./.exec(line)?.[1] ?? []));

/** The page that is called so in `where`: from the root (a compiled source knows the way there), from there, or by the end
 *  of its path. */
const pageCalled = (where: string, name: string): string | undefined =>
  [name.replace(/^(\.\.\/)+/, ''), from(where, name)].find((path) => path !== null && paths.has(path)) ??
  pages.find((p) => p.endsWith(`/${name}`));

/** Pages, sections, decisions and sources that a text's lines name, and that are not there. In sources what stands in a
 *  comment names sources too. */
function unknownIn(where: string, lines: readonly string[]): string[] {
  const out: string[] = [];
  lines.forEach((line, i) => {
    const missing = (what: string): number => out.push(`${where}:${i + 1}: ${what}`);
    for (const [, name, section] of line.matchAll(/(?<![\w/.*$`<-])([\w./-]*\w\.md)\b(?:\)?,? section (\d+))?/g)) {
      const page = pageCalled(where, name);
      if (page === undefined) missing(name);
      else if (section !== undefined && !sections(page).has(section)) missing(`${page} section ${section}`);
    }
    for (const [, decision] of line.matchAll(/\bADR (\d+)/g))
      if (files(new RegExp(`^docs/adr/${decision.padStart(4, '0')}-`)).length === 0) missing(`ADR ${decision}`);
    const comment = /^\s*(?:\/\*\*?|\*|\/\/).*/.exec(line)?.[0] ?? '';
    for (const [path] of comment.matchAll(new RegExp(`(?<![\\w/])${TOP}[\\w./-]+[.](?:ts|mjs)`, 'g')))
      if (!paths.has(path)) missing(path);
    for (const [, name] of comment.matchAll(/(?<![\w.-])([\w-]+\.(?:ts|mjs))\b/g)) if (!names.has(name)) missing(name);
  });
  return out;
}

t.test('each link of a page leads to a file, and to a heading where it names one', (t) => {
  t.same(pages.flatMap(brokenLinks), []);
  t.end();
});

t.test('each path that a page has in backticks is a path of the repository', (t) => {
  t.same(pages.flatMap(unknownPaths), []);
  t.end();
});

t.test('pages, their sections, decisions and sources that pages and sources name are there', (t) => {
  const sources = files(/\.(ts|mjs|cjs|js|yml)$|^\.ci\/run$|^Dockerfile$/).filter(
    (path) => path !== 'load/test/documents.test.ts',
  );
  t.same(
    [
      ...pages.map((page) => unknownIn(page, prose(page))),
      ...sources.map((s) => unknownIn(s, text(s).split('\n'))),
    ].flat(),
    [],
  );
  t.end();
});

/** The part of a page below the heading "## N." */
const section = (page: string, n: number): string =>
  new RegExp(`^## ${n}\\..*?(?=^## )`, 'ms').exec(`${text(page)}\n## `)?.[0] ?? '';
const CONTROL_PLANE = 'docs/wire/control-plane.md';
const found = (where: string, what: RegExp): Set<string> =>
  new Set([...where.matchAll(what)].map(([all, name]) => name ?? all));

t.test('the environment of docs/wire/control-plane.md is what services and the command read', (t) => {
  const read = found(text('shared/service/src/env.ts'), /^ {2}(GRANTLINE_\w+): Type/gm);
  const told = found(section(CONTROL_PLANE, 1), /\bGRANTLINE_[A-Z_]+\b/g);
  t.ok(read.size > 10, 'the schema is found');
  t.same(
    [...read].filter((name) => !told.has(name)),
    [],
    'read, and not told',
  );
  const command = files(/^load\/src\/.*\.ts$/)
    .map(text)
    .join('\n');
  t.same(
    [...told].filter((name) => !read.has(name) && !command.includes(name)),
    [],
    'told, and not read',
  );
  t.end();
});

t.test('the factors of docs/wire/control-plane.md are those of the configurations', (t) => {
  const rows = section(CONTROL_PLANE, 5)
    .split('\n')
    .map((line) =>
      line
        .split('|')
        .map((cell) => cell.trim())
        .slice(1, -1),
    );
  const names = rows.find(([first]) => first === 'configuration')?.slice(1) ?? [];
  for (const [configuration, factors] of Object.entries(CONFIGURATIONS)) {
    const row = rows.find(([first]) => first === configuration)?.slice(1) ?? [];
    t.same(
      Object.fromEntries(names.map((name, i) => [name, row[i]])),
      Object.fromEntries(Object.entries(factors).map(([name, value]) => [name, String(value)])),
      configuration,
    );
  }
  t.end();
});

t.test('the features of docs/wire/control-plane.md are those that the two ends of a vif write', (t) => {
  const [backend, frontend] = section(CONTROL_PLANE, 6).split('Frontend directory');
  const FEATURE = /\b(?:feature|request)-[a-z0-9]+(?:-[a-z0-9]+)*/g;
  const written = (side: string): string[] => [...found(text(side), /'((?:feature|request)-[a-z0-9-]+)'/g)].sort();
  t.same([...found(backend ?? '', FEATURE)].sort(), written('services/driver-domain/src/control/back-vif.ts'));
  t.same([...found(frontend ?? '', FEATURE)].sort(), written('services/guest/src/control/front-connection.ts'));
  t.end();
});

t.test('the packages of shared/ stand in ARCHITECTURE.md from the lowest floor up, and each has a README', (t) => {
  const floors = (JSON.parse(text('tools/floors.json')) as string[]).map((name) => `shared/${name}`);
  const rows = [...text('ARCHITECTURE.md').matchAll(/^\| \[`(shared\/\w+)`\]/gm)].map(([, name]) => name);
  t.same(rows, floors);
  for (const floor of floors) {
    t.ok(paths.has(`${floor}/README.md`), `${floor} has a README`);
    const { dependencies } = JSON.parse(text(`${floor}/package.json`)) as { dependencies: Record<string, string> };
    const needs = Object.keys(dependencies).flatMap((name) => /^@grantline\/(.*)/.exec(name)?.[1] ?? []);
    const told = new RegExp(`^\\| \\[\`${floor}\`\\].*\\| (.*) \\|$`, 'm').exec(text('ARCHITECTURE.md'))?.[1] ?? '';
    t.same(told === '-' ? [] : told.split(', ').sort(), needs.sort(), `what ${floor} needs`);
  }
  for (const line of text('ARCHITECTURE.md').split('\n'))
    for (const cell of line.split('|'))
      if (line.startsWith('|')) t.ok(cell.trim().length <= 200, `a cell is short: ${cell.slice(0, 60)}`);
  t.end();
});

t.test('the rooms of load/src stand in ARCHITECTURE.md and in its README from the lowest floor up', (t) => {
  const floors = JSON.parse(text('tools/load-floors.json')) as string[];
  t.same(
    [...floors].sort(),
    files(/^load\/src\/[^/]+\/$/).map((path) => path.split('/')[2]),
  );
  t.same(
    [...text('ARCHITECTURE.md').matchAll(/^\| `load\/src\/(\w+)` \|/gm)].map(([, name]) => name),
    floors,
  );
  const told = [...text('load/README.md').matchAll(/^\|.*?\|/gm)].join('\n').matchAll(/`src\/(\w+)\/`/g);
  t.same([...new Set([...told].map(([, name]) => name))], floors);
  t.end();
});

/** What pages say in numbers: page, words with the number in parentheses, constant (with its file, where others have one of that
 *  name), and how many of its units make one of the page's. */
const NUMBERS: readonly (readonly [string, RegExp, string, number?])[] = [
  [CONTROL_PLANE, /by grant copy into (\d+) buffers/, 'BRIDGE_BUFFERS'],
  [CONTROL_PLANE, /it owes the caller (\d+) answers/, 'NIC_ASKED_MAX'],
  [CONTROL_PLANE, /over (\d+) KiB, closes/, 'hypercall-server.ts:MAX_MESSAGE_BYTES', 1024],
  [CONTROL_PLANE, /EBUSY after (\d+) times/, 'ANNOUNCEMENTS_MAX'],
  [CONTROL_PLANE, /does not read \((\d+) MiB/, 'BACKLOG_BYTES', 1 << 20],
  [CONTROL_PLANE, /the NIC \((\d+) MiB/, 'BEHIND_BYTES', 1 << 20],
  [CONTROL_PLANE, /MiB, (\d+) messages/, 'BEHIND_MESSAGES'],
  [CONTROL_PLANE, /guest (\d+) pages \(/, 'GUEST_PAGES'],
  [CONTROL_PLANE, /driver domain (\d+) \(16 MiB/, 'DRIVER_DOMAIN_PAGES'],
  [CONTROL_PLANE, /nic (\d+) \|/, 'NIC_PAGES'],
  [CONTROL_PLANE, /uid and gid of domain d = (\d+)/, 'UID_BASE'],
  [CONTROL_PLANE, /fewer than (\d+) characters/, 'TOKEN_LENGTH'],
  ['docs/wire/transmit.md', /(\d+) frames at once/, 'STORM_BURST'],
  ['docs/wire/transmit.md', /and (\d+) a second for/, 'STORM_PER_SECOND'],
  ['docs/wire/transmit.md', /most (\d+) frames wait/, 'FOREIGN_FRAMES'],
  ['docs/wire/transmit.md', /The first (\d+) bytes/, 'NETBACK_HEADER_BYTES'],
  ['docs/wire/transmit.md', /At most (\d+) packets are taken/, 'NETBACK_BATCH'],
  ['docs/wire/grant-pool.md', /keep active: (\d+)/, 'GREF_LIST_MAX'],
  ['docs/wire/xenstore-paths.md', /(\d+) nodes/, 'QUOTA_NODES'],
  ['docs/wire/xenstore-paths.md', /(\d+) watches/, 'QUOTA_WATCHES'],
  ['services/driver-domain/README.md', /(\d+) own pages/, 'DRIVER_BUFFERS'],
  ['services/nic/README.md', /at most (\d+) connections/, 'edge-budget.ts:CONNECTIONS_MAX'],
  ['services/nic/README.md', /which a door has (\d+)/, 'PER_DOOR_MAX'],
  ['services/nic/README.md', /client address (\d+)/, 'PER_ADDRESS_MAX'],
  ['services/nic/README.md', /in trains of (\d+)/, 'TRAIN_FRAMES'],
  ['docs/wire/capture.md', /default (\d+) \|\n\| `epoch`/, 'DEFAULT_RING_BYTES'],
  ['docs/wire/capture.md', /, 1 to (\d+) \(default\)/, 'MAX_SNAPLEN'],
  ['docs/wire/dma-table.md', /\(`dma-table`\): (\d+) entries/, 'DMA_ENTRIES'],
  ['docs/wire/nic-queue.md', /avail page +(\d+) entries/, 'NICQ_SIZE'],
  ['docs/wire/nic-queue.md', /avail page +(\d+) descriptors/, 'NICTX_SIZE'],
  ['docs/wire/ring.md', /\| tx .*\| (\d+) +\|/, 'TX_RING_SIZE'],
  ['docs/wire/ring.md', /\| rx .*\| (\d+) +\|/, 'RX_RING_SIZE'],
  ['docs/wire/ring.md', /\| control .*\| (\d+) +\|/, 'CTRL_RING_SIZE'],
  ['docs/http.md', /N bytes \(0 to (\d+) GiB\)/, 'MAX_BODY_BYTES', 1 << 30],
  ['docs/http.md', /up to (\d+) MiB a message/, 'web-api.ts:MAX_MESSAGE_BYTES', 1 << 20],
  ['docs/latency.md', /within (\d+) ms is lost/, 'REQUEST_TIMEOUT_MS'],
  ['docs/latency.md', /At most (\d+) frames are held/, 'HELD_FRAMES'],
  ['docs/tap.md', /takes up to (\d+) frames/, 'MOST_RX_BATCH'],
  ['docs/tap.md', /Packets up to (\d+) bytes are copied/, 'tap.ts:COPY_BYTES'],
  ['docs/tap.md', /held up to (\d+) ms/, 'KERNEL_HOLD_NS', 1e6],
  ['docs/wire/nic-queue.md', /It uses at most (\d+) buffers/, 'MAX_CHAIN'],
  ['docs/wire/nic-queue.md', /after (\d+) buffers were refused/, 'MAX_REFUSALS'],
  ['docs/wire/nic-queue.md', /at most (\d+) descriptors and/, 'NICTX_MAX_CHAIN'],
  ['docs/wire/nic-queue.md', /more than (\d+) segments/, 'MAX_BULK_FRAMES'],
  ['docs/wire/hypercall.md', /At most (\d+) elements/, 'HYPERCALL_MAX_COUNT'],
  ['docs/wire/hypercall.md', /hold\n(\d+) of them/, 'GUEST_MAPTRACK_ENTRIES'],
  ['docs/wire/frame-stamp.md', /ends with (\d+) bytes/, 'STAMP_BYTES'],
  ['docs/wire/frame-stamp.md', /as flow \+ (\d+)/, 'UDP_HALF'],
  ['docs/wire/frame-stamp.md', /which of the (\d+) patterns/, 'PATTERN_VARIANTS'],
  ['docs/wire/frame-stamp.md', /variants of (\d+) pseudo/, 'PATTERN_MAX'],
  ['docs/wire/frame-stamp.md', /more than (\d+) behind/, 'TRACK_WINDOW'],
];

/** Values of all constants of sources that are a number, or a product or shift of two: by name, and by file and name. */
const constants = new Map<string, Set<number>>();
for (const source of files(/^(?:shared|services|load)\/(?:.*\/)?src\/.*\.ts$/))
  for (const [, name, value] of text(source).matchAll(/^(?:export )?const ([A-Z]\w*) = ([^;\n]+);/gm)) {
    const [a, sign, b] = value.replace(/_/g, '').split(' ');
    const n = sign === '<<' ? Number(a) << Number(b) : sign === '*' ? Number(a) * Number(b) : Number(a);
    for (const key of [name, `${source.split('/').at(-1)}:${name}`])
      constants.set(key, (constants.get(key) ?? new Set()).add(n));
  }

t.test('numbers that pages name are those of the code', (t) => {
  for (const [page, words, name, unit = 1] of NUMBERS)
    t.same(
      [...(constants.get(name) ?? [])].map((n) => String(n / unit)),
      words.exec(text(page))?.slice(1),
      `${page}: ${name}`,
    );
  t.end();
});

t.test('the example of shared/tcpip/README.md does what it says', (t) => {
  const example = /```js\n(.*?)```/s.exec(text('shared/tcpip/README.md'))?.[1] ?? '';
  const options = { cwd: ROOT, input: example, encoding: 'utf8', timeout: 20_000 } as const;
  const done = spawnSync(process.execPath, ['--input-type=module', '-'], options);
  t.equal(done.stderr, '');
  t.equal(done.stdout.trim(), /console\.log\(heard\); \/\/ (.*)/.exec(example)?.[1]);
  t.end();
});

const CODE = /\bH[1-9]\d?\b/g;
/** Codes that a text's string literals name: titles of tests. */
const codesIn = (source: string): Set<string> =>
  new Set(
    [...source.matchAll(/(['"`])(?:(?!\1).)*\bH[1-9]\d?\b(?:(?!\1).)*\1/g)].flatMap(
      ([title]) => title.match(CODE) ?? [],
    ),
  );

t.test(
  'each rule of docs/security.md has tests that name it, where it says; each code in a test is a rule there',
  (t) => {
    const rules = new Map<string, string[]>();
    for (const line of text('docs/security.md').split('\n')) {
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
    const named = new Map(files(/^(shared|services|load)\/.*\.test\.ts$/).map((file) => [file, codesIn(text(file))]));
    for (const [code, tests] of rules) {
      t.ok(tests.length > 0, `${code} has a test`);
      for (const file of tests) t.ok(named.get(file)?.has(code), `${file} names ${code} in a title`);
    }
    const strangers = [...named].flatMap(([file, codes]) =>
      [...codes].filter((c) => !rules.has(c)).map((c) => `${file}: ${c}`),
    );
    t.same(strangers, []);
    t.end();
  },
);
