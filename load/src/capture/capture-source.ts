/** Which services are asked for which hop of a vif, and the stream of one hop: connects, cuts it into blocks, and tells when it has ended.
 *  docs/wire/capture.md. */
import { request, type ClientRequest, type IncomingMessage } from 'node:http';
import {
  HOPS,
  readStatistics,
  PCAPNG_STATISTICS,
  PCAPNG_ENHANCED,
  type Hop,
  type Statistics,
} from '@grantline/observe';
import { configurationName, type Factors } from '@grantline/base';
import { UserError, RunError } from '../base/errors.js';
import { parseVif } from '../base/option-values.js';
import { serviceName, type Client, type DomainInfo } from '../control/client.js';
import { HttpError, messageOf } from '../base/http.js';

/** One hop, and where it is captured. */
export interface HopSource {
  hop: Hop;
  vif: string;
  /** Address of the vif's guest. */
  mac: string;
  /** guest1, nic, driver-domain. */
  service: string;
  /** http://host:port, and the key of its domain. */
  http: string;
  key: string;
}

const KIND = { nic: 'nic', bridge: 'driver-domain', guest: 'guest' } as const;
const WHY_NOT: Readonly<Record<Factors['path'], Partial<Record<Hop, string>>>> = {
  split: {},
  direct: { bridge: 'the NIC and the guest have no driver domain between them' },
  native: {
    bridge: 'the application runs in the driver domain, and no vif is connected',
    guest: 'the application runs in the driver domain, and no vif is connected',
  },
};

/** Hops that frames pass in a configuration, in the order of the path; null: not known yet, then all. */
export const hopsOf = (factors: Factors | null): Hop[] =>
  HOPS.filter((hop) => factors === null || WHY_NOT[factors.path][hop] === undefined);

/** @param hop null: all that there are
 *  @throws UserError for a vif or hop that there is not, or without the operator's token */
export async function planCapture(client: Client, vif: string, hop: Hop | null): Promise<HopSource[]> {
  const { guest, device } = parseVif(vif);
  const { domains, config } = await client.testbed();
  const running = domains.filter((d) => d.state === 'running');
  const front = running.find((d) => d.kind === 'guest' && d.domid === guest);
  if (front === undefined || device !== 0) {
    const known = running.filter((d) => d.kind === 'guest').map((d) => `vif${d.domid}.0`);
    throw new UserError(
      `there is no ${vif}`,
      known.length > 0 ? `known are ${known.join(', ')}` : 'the testbed has no guest',
    );
  }
  const hops = hopsOf(config);
  if (hop !== null && !hops.includes(hop) && config !== null)
    throw new UserError(
      `there is no hop ${hop} in the configuration ${configurationName(config)}: ${WHY_NOT[config.path][hop]}`,
      `take --hop ${hops.join(' or ')}, or another configuration`,
    );
  // All of them, also one that nothing passes now: the configuration may change while the capture goes on.
  return Promise.all((hop === null ? HOPS : [hop]).map((h) => sourceOf(client, running, front, vif, h)));
}

async function sourceOf(
  client: Client,
  running: readonly DomainInfo[],
  front: DomainInfo,
  vif: string,
  hop: Hop,
): Promise<HopSource> {
  const domain = hop === 'guest' ? front : running.find((d) => d.kind === KIND[hop]);
  if (domain === undefined)
    throw new UserError(`the testbed has no ${KIND[hop]}`, `capture at another hop, or start it again`);
  try {
    const { http, key } = await client.controlAccess(domain.domid);
    return { hop, vif, mac: front.mac ?? '', service: serviceName(domain), http, key };
  } catch (error) {
    if (error instanceof HttpError && error.status === 401)
      throw new UserError(
        "the operator's token is needed to capture",
        'run as the user who started the testbed, or give --token-file',
      );
    throw error;
  }
}

const CONNECT_LIMIT_MS = 10_000;
const REFUSAL_CHARS = 100_000;
/** A longer block was not written by a service. */
const BLOCK_BYTES_MAX = 1 << 20;

export interface SourceSettings {
  /** Bytes kept of a frame at most. */
  snaplen: number;
  /** Size of the ring in the service. */
  ringBytes: number;
  /** Nanoseconds since 1970 at the origin of the machine's monotonic clock. */
  epochNs: bigint;
}

interface SourceEvents {
  /** A packet block; the bytes are the listener's. */
  packet(block: Buffer): void;
  /** All packets up to `atNs` have come. */
  statistics(now: Statistics): void;
  /** What has come so far has been told. */
  pause(): void;
  /** It is over, and `close` was not called. */
  lost(why: string): void;
}

export class CaptureSource {
  readonly plan: HopSource;
  private readonly on: SourceEvents;
  private readonly asked: ClientRequest;
  private readonly response: IncomingMessage;
  private pending: Buffer = Buffer.alloc(0);
  private ended = false;

  /** Connects. @throws RunError, UserError when the service refuses or does not answer */
  static open(plan: HopSource, settings: SourceSettings, on: SourceEvents): Promise<CaptureSource> {
    return new Promise((resolve, reject) => {
      const query = new URLSearchParams({
        ...{ hop: plan.hop, vif: plan.vif, snaplen: String(settings.snaplen), buffer: String(settings.ringBytes) },
        ...{ epoch: String(settings.epochNs) },
        ...(plan.hop === 'nic' ? { mac: plan.mac } : {}),
      });
      const asked = request(new URL(`/capture?${query.toString()}`, plan.http), {
        headers: { authorization: `Bearer ${plan.key}` },
        agent: false,
      });
      asked.setTimeout(CONNECT_LIMIT_MS, () => asked.destroy(new Error('it does not answer')));
      asked.once('error', (error) => reject(new RunError(`${plan.service} cannot be captured: ${error.message}`)));
      asked.once('response', (response) => {
        asked.setTimeout(0);
        if (response.statusCode === 200) return resolve(new CaptureSource(plan, on, asked, response));
        let text = '';
        response.setEncoding('utf8').on('data', (part: string) => {
          text += part;
          // Longer than any refusal of ours.
          if (text.length > REFUSAL_CHARS) asked.destroy(new Error('its refusal has no end'));
        });
        response.once('end', () => reject(refusal(plan, response.statusCode ?? 0, text)));
      });
      asked.end();
    });
  }

  private constructor(plan: HopSource, on: SourceEvents, asked: ClientRequest, response: IncomingMessage) {
    this.plan = plan;
    this.on = on;
    this.asked = asked;
    this.response = response;
    asked.on('error', () => this.lose('its connection broke'));
    response.on('data', (chunk: Buffer) => this.take(chunk));
    response.on('error', () => this.lose('it ended'));
    response.on('close', () => this.lose('it ended'));
  }

  /** Takes nothing before `until`: the service's ring keeps what it can. */
  hold(until: Promise<void>): void {
    this.response.pause();
    void until.finally(() => this.response.resume());
  }

  /** Ends it; nothing is told from now on. */
  close(): void {
    this.ended = true;
    this.asked.destroy();
  }

  private lose(why: string): void {
    if (this.ended) return;
    this.close();
    this.on.lost(`${this.plan.service}: ${why}`);
  }

  private take(chunk: Buffer): void {
    let bytes = this.pending.length === 0 ? chunk : Buffer.concat([this.pending, chunk]);
    while (!this.ended && bytes.length >= 8) {
      const total = bytes.readUInt32LE(4);
      if (total < 12 || total > BLOCK_BYTES_MAX || total % 4 !== 0) return this.lose('what it sends is no capture');
      if (bytes.length < total) break;
      const type = bytes.readUInt32LE(0);
      const block = bytes.subarray(0, total);
      bytes = bytes.subarray(total);
      if (type === PCAPNG_ENHANCED) this.on.packet(block);
      else if (type === PCAPNG_STATISTICS) this.on.statistics(readStatistics(block));
    }
    this.pending = bytes;
    if (!this.ended) this.on.pause();
  }
}

function refusal(plan: HopSource, status: number, text: string): Error {
  const message = messageOf(text);
  if (status === 503) return new UserError(`${plan.service}: ${message}`, 'end one of them first');
  return new RunError(`${plan.service} refuses the capture (${status}): ${message}`);
}
