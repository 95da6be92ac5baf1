/** The stream of one hop: connects, cuts it into blocks, and tells when it has ended. docs/wire/capture.md. */
import { request, type ClientRequest, type IncomingMessage } from 'node:http';
import { readStatistics, PCAPNG_STATISTICS, type Statistics, PCAPNG_ENHANCED } from '@grantline/observe';
import { RunError, UserError } from '../base/errors.js';
import { messageOf } from '../base/http.js';
import type { HopSource } from './plan.js';

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

export interface SourceEvents {
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
  private rest: Buffer = Buffer.alloc(0);
  private over = false;

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
    this.over = true;
    this.asked.destroy();
  }

  private lose(why: string): void {
    if (this.over) return;
    this.close();
    this.on.lost(`${this.plan.service}: ${why}`);
  }

  private take(chunk: Buffer): void {
    let bytes = this.rest.length === 0 ? chunk : Buffer.concat([this.rest, chunk]);
    while (!this.over && bytes.length >= 8) {
      const total = bytes.readUInt32LE(4);
      if (total < 12 || total > BLOCK_BYTES_MAX || total % 4 !== 0) return this.lose('what it sends is no capture');
      if (bytes.length < total) break;
      const type = bytes.readUInt32LE(0);
      const block = bytes.subarray(0, total);
      bytes = bytes.subarray(total);
      if (type === PCAPNG_ENHANCED) this.on.packet(block);
      else if (type === PCAPNG_STATISTICS) this.on.statistics(readStatistics(block));
    }
    this.rest = bytes;
    if (!this.over) this.on.pause();
  }
}

function refusal(plan: HopSource, status: number, text: string): Error {
  const message = messageOf(text);
  if (status === 503) return new UserError(`${plan.service}: ${message}`, 'end one of them first');
  return new RunError(`${plan.service} refuses the capture (${status}): ${message}`);
}
