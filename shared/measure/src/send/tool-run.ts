/** What /tool/run says to those who send (docs/wire/control-plane.md section 8): the part that receivers do not need. */
import { GENERATOR_PORT, RESPOND_PORT, UDP_HALF, type FlowSpec } from '@grantline/frames';
import type { SendRun } from './send-app.js';

/** First source port of a guest's flows, as of the generator's. */
const FIRST_PORT = 10000;

export interface SendPart {
  seed: number;
  frameSizes: number[];
  protocol: SendRun['protocol'];
  flows: number;
  /** Station at the far end. */
  to: { mac: string; ip: string };
  order: number[];
  /** Sends nothing by itself: answers requests. */
  responds: boolean;
  /** Between guests: the far end of the cable has no part in it. */
  toGuest: boolean;
}

const isText = (v: unknown): v is string => typeof v === 'string' && v.length < 40;

/** @param domid who asks: where the run pairs senders with receivers, to whom it sends
 *  @returns null when the run does not have it send, or is not understood */
export function parseSend(text: string | null, domid?: number): SendPart | null {
  let v: Record<string, unknown> | null;
  try {
    v = JSON.parse(text ?? 'null') as Record<string, unknown> | null;
  } catch {
    return null;
  }
  if (typeof v !== 'object' || v === null) return null;
  const responds = v['direction'] === 'rr';
  if (!responds && v['direction'] !== 'tx') return null;
  const { seed, frameSizes, protocol, flows, order, pairs } = v;
  const paired = Array.isArray(pairs) && domid !== undefined;
  const to = paired ? (pairs as { from?: unknown; to?: unknown }[]).find((p) => p?.from === domid)?.to : v['to'];
  const numbers = (list: unknown): list is number[] =>
    Array.isArray(list) && list.every((n) => Number.isInteger(n) && (n as number) >= 0);
  if (typeof seed !== 'number' || !numbers(frameSizes) || frameSizes.length === 0) return null;
  if (protocol !== 'auto' && protocol !== 'tcp' && protocol !== 'udp') return null;
  if (typeof flows !== 'number' || !Number.isInteger(flows) || flows < 1 || flows > UDP_HALF) return null;
  const { mac, ip } = (to ?? {}) as { mac?: unknown; ip?: unknown };
  if (!isText(mac) || !isText(ip)) return null;
  if (order !== undefined && !(numbers(order) && order.every((i) => i < frameSizes.length))) return null;
  return {
    seed,
    frameSizes,
    protocol,
    flows,
    to: { mac, ip },
    order: order ?? [],
    responds,
    toGuest: Array.isArray(pairs),
  };
}

/** The flows of one sender. @param nth which of the run's guests it is, from 0: flow numbers follow from it */
export function flowsOfSender(part: SendPart, nth: number, own: { mac: string; ip: string }): FlowSpec[] {
  return Array.from({ length: part.flows }, (_, k) => ({
    flowId: nth * part.flows + k,
    guestIndex: 0,
    dstMac: part.to.mac,
    srcMac: own.mac,
    dstIp: part.to.ip,
    srcIp: own.ip,
    srcPort: part.responds ? RESPOND_PORT : FIRST_PORT + k,
    dstPort: GENERATOR_PORT,
  }));
}

/** What SendApp wants of it. */
export function sendRun(part: SendPart, flows: FlowSpec[]): SendRun {
  const { seed, frameSizes, protocol, responds } = part;
  return { seed, frameSizes, protocol, flows, order: Uint8Array.from(part.order), responds };
}
