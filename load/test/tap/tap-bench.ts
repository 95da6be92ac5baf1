/** A testbed with kernels at the far end of its cable and in guests: network namespaces that a test makes and removes again, programs
 *  in them, and how they reach each other. */
import { ok as must } from 'node:assert/strict';
import { accessSync, constants, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import { callBytes } from '../../src/base/http.js';
import type { ServiceClient } from '../../src/control/client.js';
import { Bench, eventually, lacking, succeeded, type Ended, type Running } from '../e2e/kit.js';
import { bodyOf, PEERS, SERVER_PORT, sha256 } from './peers.js';

export const CONFIG = process.env['GRANTLINE_TAP_CONFIG'] || 'optimised';
const TAG = `gl${process.pid % 100_000}`;
/** Namespaces: at the far end, in guest 1, in guest 2. */
export const [FAR, ONE, TWO] = [`${TAG}f`, `${TAG}a`, `${TAG}b`];
export const [FAR_IP, IP1, IP2, IP3] = ['10.77.255.254', '10.77.0.1', '10.77.0.2', '10.77.0.3'];
export const [FAR_MAC, MAC1, MAC2, MAC3] = ['02:00:00:ca:b1:e1', ...[1, 2, 3].map((n) => `00:16:3e:00:00:0${n}`)];
/** The devices of the two kernels that most is tried between. */
export const DEVICES = [[FAR, 'gl0'], [ONE, 'gl1']]; // prettier-ignore

/** Why kernels cannot be tried here; false: they can. */
export function missing(): string | false {
  if (process.getuid?.() !== 0) return 'not root';
  try {
    accessSync('/dev/net/tun', constants.R_OK | constants.W_OK);
  } catch {
    return 'there is no /dev/net/tun that can be opened: modprobe tun';
  }
  const namedAlike = { curl: 'curl', iperf3: 'iperf3', ethtool: 'ethtool', tcpdump: 'tcpdump', tshark: 'tshark' };
  return lacking({ ip: 'iproute2', ping: 'iputils-ping', ...namedAlike });
}

export class TapBench extends Bench {
  /** Where bodies and captures lie: shared memory, where its home is, may have no room for them. */
  readonly files = mkdtempSync(join(tmpdir(), 'grantline-tap-'));

  static async make(t: Test, name: string): Promise<TapBench> {
    const bench = new TapBench(name);
    t.teardown(() => bench.end());
    for (const ns of [FAR, ONE, TWO]) {
      await bench.must(`ip netns add ${ns}`);
      await bench.ip(ns, 'link set lo up');
    }
    return bench;
  }

  /** Only our own namespaces, and what runs in them. */
  override async clear(): Promise<void> {
    for (const ns of [FAR, ONE, TWO]) {
      await this.clearBy('sh -c', `ip netns pids ${ns} | xargs -r kill -9`);
      await this.clearBy(`ip netns del ${ns}`);
    }
    rmSync(this.files, { recursive: true, force: true });
  }

  /** A testbed with kernels at the far end and in two guests, and our own stack in the third. */
  async kernels(): Promise<Running> {
    const taps = ['--tap', `gl0,${FAR}`, '--guest-tap', `gl1,${ONE}`, '--guest-tap', `gl1,${TWO}`];
    const up = await this.up(3, '--config', CONFIG, ...taps);
    await this.answered(FAR, IP1);
    return up;
  }

  async service(name: string): Promise<ServiceClient> {
    const found = (await this.client().services()).find((s) => s.name === name);
    must(found, `no ${name} has announced itself`);
    return found;
  }

  /** Every service is ready, the command has nothing to say, and all reach each other. */
  async cameThrough(t: Test, up: Running): Promise<void> {
    t.equal(up.child.exitCode, null, 'the testbed runs');
    for (const { name, http } of await this.client().services())
      await t.resolves(callBytes(name, http, '/health/ready'), `${name} is ready`);
    t.equal(up.stderr, '');
    for (const bytes of [56, 20000]) await this.ping(bytes, 10, [FAR, IP1], [FAR, IP3], [ONE, IP2]);
  }

  /** An interrupt ends the testbed, and soon. */
  async interrupt(t: Test, up: Running): Promise<void> {
    up.signal('SIGINT');
    const { code, seconds } = await up.ended;
    t.equal(code, 130);
    t.ok(seconds < 8, `after ${seconds} s`);
  }

  /** A program in a namespace, until it ends. @param line its words, without quotes, @param more arguments as they are */
  inside(ns: string, line: string, ...more: string[]): Promise<Ended> {
    return this.call(`ip netns exec ${ns} ${line}`, ...more);
  }

  /** Has `ip` do this in a namespace, one after the other. @throws when it cannot */
  async ip(ns: string, ...lines: string[]): Promise<void> {
    for (const line of lines) await this.must(`ip -n ${ns} ${line}`);
  }

  /** A program in a namespace that stays. */
  stay(ns: string, line: string, ...more: string[]): Running {
    return this.program(`ip netns exec ${ns} ${line}`, ...more);
  }

  /** One of the programs of peers.ts. */
  peer(ns: string, role: string, address = ''): Running {
    return this.stay(ns, '', process.execPath, PEERS, role, address);
  }

  /** What fetch and upload talk to. */
  async serve(ns: string): Promise<void> {
    await this.peer(ns, 'server').until(/listening/);
  }

  /** Devices besides loopback, as text; empty when there are none. */
  async devices(ns: string): Promise<string> {
    const { stdout } = await this.call(`ip -n ${ns} -o link`);
    return stdout.replace(/.* lo: .*\n/, '').trim();
  }

  /** Processes, files and devices, as text. Empty when nothing is left. */
  async left(): Promise<string[]> {
    const devices = await Promise.all([FAR, ONE, TWO].map((ns) => this.devices(ns)));
    return [existsSync(this.dir) ? this.dir : '', ...this.leftovers(), ...devices].filter(Boolean);
  }

  /** What a kernel takes an address for. */
  async neighbour(ns: string, ip: string): Promise<string | undefined> {
    return /lladdr (\S+)/.exec((await this.call(`ip -n ${ns} neigh show ${ip}`)).stdout)?.[1];
  }

  answered(ns: string, ip: string): Promise<void> {
    return eventually(`${ip} answers`, async () => (await this.inside(ns, `ping -c 1 -W 1 ${ip}`)).code === 0);
  }

  /** Pings, and asks the kernel whether all came back: ping itself waits for late ones no longer than two round trips, which on
   *  a busy machine is no time at all. @param pairs from a namespace to an address, all at once */
  async ping(bytes: number, count: number, ...pairs: [ns: string, ip: string, option?: string][]): Promise<void> {
    const from = [...new Set(pairs.map(([ns]) => ns))];
    const before = await Promise.all(from.map((ns) => this.unanswered(ns)));
    const each = async ([ns, ip, option = '']: (typeof pairs)[0]): Promise<void> => {
      const line = `ping -n -q -c ${count} -i 0.01 -W 3 -s ${bytes} ${option} ${ip}`;
      const { stdout, stderr } = await this.inside(ns, line);
      const fine = / [1-9]\d* received/.test(stdout) && !/duplicate|errors/.test(stdout);
      must(fine, `${bytes} bytes to ${ip}: ${stdout}${stderr}`);
    };
    await Promise.all(pairs.map(each));
    for (const [i, ns] of from.entries()) {
      let lost = NaN;
      const none = async (): Promise<boolean> => (lost = (await this.unanswered(ns)) - before[i]) === 0;
      await eventually('', none, 50, 3000).catch(() => {});
      must(lost === 0, `${bytes} bytes from ${ns}: ${lost} were not answered`);
    }
  }

  /** Echo requests of a namespace that no reply has come to, ever. */
  private async unanswered(ns: string): Promise<number> {
    const { stdout } = await this.inside(ns, 'cat /proc/net/snmp');
    const [names, values] = stdout
      .split('\n')
      .filter((line) => line.startsWith('Icmp: '))
      .map((line) => line.split(' '));
    const of = (name: string): number => Number(values[names.indexOf(name)]);
    return of('OutEchos') - of('InEchoReps');
  }

  /** Bodies of these lengths from the server at the address, each as it was made. */
  async fetch(ns: string, ip: string, ...lengths: number[]): Promise<void> {
    const file = join(this.files, 'body');
    for (const n of lengths) {
      succeeded(await this.inside(ns, `curl -sS -m 60 http://${ip}:${SERVER_PORT}/bytes/${n} -o`, file));
      must(readFileSync(file).equals(bodyOf(n)), `${n} bytes from ${ip}: the body differs`);
    }
  }

  /** A body of that length to the server at the address, which tells its checksum. */
  async upload(ns: string, ip: string, bytes: number): Promise<void> {
    const file = join(this.files, 'upload');
    writeFileSync(file, bodyOf(bytes));
    const done = await this.inside(ns, `curl -sS -m 60 -X POST http://${ip}:${SERVER_PORT}/ -T`, file);
    must(succeeded(done) === sha256(bodyOf(bytes)), `${bytes} bytes to ${ip}: checksums differ`);
  }

  /** @returns Gb/s received */
  async iperf(ns: string, ip: string, options = '-t 2'): Promise<number> {
    const { stdout } = await this.inside(ns, `iperf3 -J ${options} -c ${ip}`);
    const { error, end } = JSON.parse(stdout) as { error?: string; end: { sum_received: { bits_per_second: number } } };
    must(error === undefined, error);
    return end.sum_received.bits_per_second / 1e9;
  }
}
