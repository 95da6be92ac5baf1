// What may stand at the other end of a cable, and wishes nobody well: floods, scans, clients that never come to the point, frames
// that are none. By programs that everybody has, from one namespace, while real clients of the same guest go on. Bounded in time;
// no step asks how fast anything is. tap-check.mjs runs it.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

/** @typedef {{ code: number, out: string, err: string }} Done */
/** @typedef {{ child: import('node:child_process').ChildProcess, out: string, err: string, code: number | null, over: boolean }} Running */
/** @typedef {object} Kit
 *  @property {string} dir of files that the check may leave
 *  @property {string} root of the repository
 *  @property {string} ns where the attackers are
 *  @property {string} device of theirs @property {string} ip @property {string} mac of the guest under attack
 *  @property {(what: string, check: () => Promise<string | void>) => Promise<void>} step
 *  @property {(ns: string, argv: string[], limitMs?: number) => Promise<Done>} inside
 *  @property {(file: string, argv: string[]) => Running} start
 *  @property {(state: Running, signal?: NodeJS.Signals) => Promise<void>} end
 *  @property {(what: string, so: () => Promise<unknown> | unknown, limitMs?: number) => Promise<void>} until
 *  @property {(ok: unknown, message: string) => asserts ok} must */

const PORT = 80;
/** How long a client may try to be served under attack; on an idle machine it takes some milliseconds. */
const PATIENCE_MS = 120_000;
const FLOOD_MS = 4000;

/** One connection, one request after the other; tells how many were answered. */
const STEADY = `import { connect } from 'node:net';
const s = connect(${PORT}, process.argv[2]);
const get = 'GET /bytes/1000 HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n';
let got = 0, need = 0, answers = 0;
s.on('connect', () => s.write(get));
s.on('data', (d) => {
  got += d.length;
  if (need === 0) need = d.indexOf('\\r\\n\\r\\n') + 4 + 1000;
  if (got < need) return;
  got = 0; need = 0;
  console.log(++answers);
  setTimeout(() => s.write(get), 50);
});
s.on('error', (e) => { console.log('error ' + e.code); process.exit(1); });
s.on('close', () => { console.log('closed'); process.exit(1); });`;

/** Connections that begin a request and never end it. */
const SLOW_HEADERS = `import { connect } from 'node:net';
let open = 0;
for (let i = 0; i < 1000; i++) {
  const s = connect(${PORT}, process.argv[2]);
  s.on('connect', () => { s.write('GET / HTTP/1.1\\r\\nHost: x\\r\\n'); open++; });
  s.on('error', () => {});
  setInterval(() => s.writable && s.write('X-' + i + ': y\\r\\n'), 2000);
}
setInterval(() => console.log('open ' + open), 500);`;

/** Readers of a body who take 32 bytes every five seconds. */
const SLOW_READERS = `import { connect } from 'node:net';
let open = 0;
for (let i = 0; i < 500; i++) {
  const s = connect({ port: ${PORT}, host: process.argv[2], onread: { buffer: Buffer.alloc(32), callback: () => false } });
  s.on('connect', () => { s.write('GET /bytes/1000000 HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n'); open++; });
  s.on('error', () => {});
  setInterval(() => s.destroyed || s.resume(), 5000);
}
setInterval(() => console.log('open ' + open), 500);`;

/** Frames that no sender makes: those of the sample capture for this guest, cut, with wrong bits, with lengths that lie. Always the same
 *  ones. @param {Kit} kit @returns {number} how many */
function oddFrames({ dir, root, mac }) {
  const sample = readFileSync(join(root, 'load/captures/lan-http.pcap'));
  const little = sample.readUInt32LE(0) === 0xa1b2c3d4 || sample.readUInt32LE(0) === 0xa1b23c4d;
  const u32 = (/** @type {number} */ at) => (little ? sample.readUInt32LE(at) : sample.readUInt32BE(at));
  let x = 20260101;
  const random = (/** @type {number} */ below) => {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    return (x >>> 0) % below;
  };
  const head = Buffer.alloc(24);
  head.writeUInt32LE(0xa1b2c3d4, 0);
  head.writeUInt16LE(2, 4);
  head.writeUInt16LE(4, 6);
  head.writeUInt32LE(65535, 16);
  head.writeUInt32LE(1, 20);
  const out = [head];
  const destination = Buffer.from(mac.replaceAll(':', ''), 'hex');
  let count = 0;
  for (let at = 24; at + 16 <= sample.length && count < 2000;) {
    const bytes = u32(at + 8);
    const frame = Buffer.from(sample.subarray(at + 16, at + 16 + bytes));
    at += 16 + bytes;
    if (frame.length < 15) continue;
    destination.copy(frame);
    if (random(8) === 0) frame.fill(0xff, 0, 6);
    const kind = random(6);
    if (kind === 0) frame.writeUInt16BE([0x86dd, 0x8100, 0x88a8, 0x0806, 0x05dc, 0x8847, 0x8864][random(7)], 12);
    else if (kind === 1 && frame.length > 20) frame.writeUInt16BE(random(65536), 16);
    else if (kind === 2) frame[14] = random(256);
    else if (kind === 3 && frame.length > 24) frame.writeUInt16BE(random(65536), 20);
    else for (let i = 0; i < 4; i++) frame[14 + random(Math.min(40, frame.length - 14))] ^= 1 << random(8);
    const kept = random(4) === 0 ? frame.subarray(0, 14 + random(frame.length - 14)) : frame;
    const record = Buffer.alloc(16);
    record.writeUInt32LE(kept.length, 8);
    record.writeUInt32LE(kept.length, 12);
    out.push(record, kept);
    count++;
  }
  writeFileSync(join(dir, 'odd.pcap'), Buffer.concat(out));
  return count;
}

/** @param {Kit} kit */
export async function hostile(kit) {
  const { dir, ns, ip, device, step, inside, start, end, until, must } = kit;
  for (const [name, text] of Object.entries({ STEADY, SLOW_HEADERS, SLOW_READERS }))
    writeFileSync(join(dir, `${name}.mjs`), text);
  const script = (/** @type {string} */ name) =>
    start('ip', ['netns', 'exec', ns, process.execPath, join(dir, `${name}.mjs`), ip]);
  const has = async (/** @type {string} */ tool) => (await inside(ns, ['sh', '-c', `command -v ${tool}`])).code === 0;
  /** A step by a program that may not be here. @param {string} tool @param {string} pack @param {string} what
   *  @param {() => Promise<string | void>} check */
  const by = async (tool, pack, what, check) =>
    (await has(tool)) ? step(what, check) : console.log(`skipped ${what}: no ${tool} here: apt-get install ${pack}`);

  /** A client of one request, by a new connection, that tries until it is served. @param {number} bytes */
  const served = async (bytes, limitMs = PATIENCE_MS) => {
    const argv = ['curl', '-sS', '-m', '10', '-o', '/dev/null', '-w', '%{http_code} %{size_download}'];
    let said = '';
    await until(
      'a client is served',
      async () => (said = (await inside(ns, [...argv, `http://${ip}/bytes/${bytes}`])).out) === `200 ${bytes}`,
      limitMs,
    ).catch(() => must(false, `a client was not served: ${said}`));
  };
  const steady = script('STEADY');
  const answers = () => Number(/(\d+)\n$/.exec(steady.out)?.[1] ?? 0);
  /** The connection that was there before: it must be answered again, and go on. */
  const goesOn = async () => {
    const before = answers();
    await until('the connection from before goes on', () => steady.over || answers() > before, PATIENCE_MS);
    must(!steady.over, `the connection from before has ended: ${steady.out.slice(-40)}`);
  };
  /** Frames that the attackers' device has sent. */
  const sent = async () => Number((await inside(ns, ['cat', `/sys/class/net/${device}/statistics/tx_packets`])).out);
  /** While something is under way. @param {string[]} argv @param {number} [leastMs] @returns {Promise<string>} */
  const under = async (argv, leastMs = FLOOD_MS) => {
    const begin = Date.now();
    const before = await sent();
    const flood = start('ip', ['netns', 'exec', ns, ...argv]);
    try {
      // More than any backlog has room for.
      await until('it floods', async () => flood.over || (await sent()) - before > 5000, PATIENCE_MS);
      must(!flood.over, `it ended: ${flood.err}${flood.out}`);
      for (let i = 0; i < 3; i++) await served(1000 * (i + 1));
      await goesOn();
      await sleep(Math.max(0, leastMs - (Date.now() - begin)));
    } finally {
      await end(flood, 'SIGKILL');
    }
    await served(100_000);
    return `${(await sent()) - before} frames`;
  };
  await until('a connection is there', () => answers() > 0 || steady.over);

  const hping = (/** @type {string[]} */ ...argv) => ['hping3', '-n', '-q', ...argv, ip];
  const SYNS = 'a SYN flood from random sources: new clients connect, and others feel nothing';
  await by('hping3', 'hping3', SYNS, () => under(hping('--flood', '-S', '--rand-source', '-p', String(PORT))));
  await by('hping3', 'hping3', 'floods of UDP, of odd flags and of data for no connection', async () => {
    // Not as fast as the machine can: what a link drops for want of room says nothing of the guest.
    const fast = ['-i', 'u100'];
    const udp = await under(hping(...fast, '--udp', '--rand-source', '-p', '7'), 2000);
    const xmas = await under(hping(...fast, '-F', '-P', '-U', '-p', String(PORT)), 2000);
    const data = await under(hping(...fast, '-A', '--rand-source', '-p', String(PORT), '-d', '1000'), 2000);
    return `${udp}, ${xmas}, ${data}`;
  });
  await by('nmap', 'nmap', 'scans find the one open port, and change nothing', async () => {
    const common = ['nmap', '-n', '-Pn', '-T5', '--max-retries', '1', '--host-timeout', '20s'];
    let syn = '';
    const finds = async () => {
      syn = (await inside(ns, [...common, '-sS', '-p', '1-200', ip], 40_000)).out;
      return /^80\/tcp +open\b/m.test(syn);
    };
    await until('it finds the port', finds, PATIENCE_MS).catch(() => must(false, syn));
    for (const kind of ['-sX', '-sN', '-sF', '-sA', '-sU']) {
      const { code, out, err } = await inside(ns, [...common, kind, '-p', '1-60', ip], 40_000);
      must(code === 0, `${kind}: ${out}${err}`);
    }
    await served(1000);
    await goesOn();
  });
  await step('a thousand requests that never end their headers', async () => {
    const slow = script('SLOW_HEADERS');
    await until('they are there', () => slow.out.includes('open 1000'), PATIENCE_MS);
    for (let i = 0; i < 3; i++) await served(10_000);
    await goesOn();
    await end(slow, 'SIGKILL');
  });
  await by('ab', 'apache2-utils', 'requests by ab, each answered', async () => {
    const argv = ['ab', '-q', '-k', '-s', '60', '-c', '50', '-t', '10', '-n', '20000', `http://${ip}/bytes/100`];
    const { out, err } = await inside(ns, argv, 60_000);
    const of = (/** @type {string} */ what) => Number(new RegExp(`^${what}: +(\\d+)`, 'm').exec(out)?.[1] ?? NaN);
    must(of('Complete requests') > 0 && of('Failed requests') === 0, out + err);
    must(!/Non-2xx/.test(out), out);
    return `${of('Complete requests')} requests`;
  });
  await by('tcpreplay', 'tcpreplay', 'frames that no sender makes', async () => {
    const count = oddFrames(kit);
    must(count > 500, `only ${count} frames`);
    const played = await inside(ns, ['tcpreplay', '-q', '-i', device, '--topspeed', join(dir, 'odd.pcap')], 30_000);
    must(played.code === 0, played.err + played.out);
    await served(1000);
    await goesOn();
    return `${count} frames`;
  });
  await step('500 readers of a body who take 32 bytes every five seconds', async () => {
    const slow = script('SLOW_READERS');
    await until('they are there', () => slow.out.includes('open 500'), PATIENCE_MS);
    const begin = Date.now();
    for (let i = 0; i < 5; i++) await served(100_000);
    await goesOn();
    await sleep(Math.max(0, 6000 - (Date.now() - begin)));
    await served(100_000);
    await end(slow, 'SIGKILL');
    await served(1_000_000);
  });
  await end(steady, 'SIGKILL');
}
