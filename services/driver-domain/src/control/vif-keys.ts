/** What netback reads of the frontend before it connects. The keys are a guest's, who may have written anything: each is
 *  read once, and the copy judged. docs/wire/control-plane.md section 6. */
import { EVTCHN_MAX_PORTS, parseNumber } from '@grantline/xen';
import type { Gref, Port, ReadKey } from '@grantline/base';
import { GrantPool } from '../data/grants/grant-pool.js';

/** Keys of the vif's frontend, judged. */
export interface FrontKeys {
  usesOffset: boolean;
  /** The frontend takes packets that were not cut into frames. */
  takesGso: boolean;
  queues: { tx: Gref; rx: Gref; port: Port }[];
  ctrl: { ring: Gref; port: Port } | null;
}

/** Queues of a vif at most. */
export const MAX_VIF_QUEUES = 2;

/** Reads what the frontend offers.
 *  @param queues how many the factors want
 *  @throws Error telling which key is bad */
export async function readFrontKeys(read: ReadKey, queues: number): Promise<FrontKeys> {
  const number = async (key: string): Promise<number> => {
    const text = await read(key);
    const n = parseNumber(text);
    if (n === null) throw new Error(`${key} is ${text === null ? 'missing' : `'${text.slice(0, 40)}'`}`);
    return n;
  };
  const used = new Set<number>();
  const gref = async (key: string): Promise<Gref> => {
    const n = await number(key);
    if (!GrantPool.isGref(n)) throw new Error(`${key} ${n} is no grant reference`);
    if (used.has(n)) throw new Error(`${key} ${n} is used twice`);
    used.add(n);
    return n as Gref;
  };
  const ports = new Set<number>();
  const port = async (key: string): Promise<Port> => {
    const n = await number(key);
    if (n < 1 || n >= EVTCHN_MAX_PORTS || ports.has(n)) throw new Error(`${key} ${n} is no port, or used twice`);
    ports.add(n);
    return n as Port;
  };
  if ((await read('request-rx-copy')) !== '1') throw new Error('request-rx-copy is not 1: pages are not flipped here');
  const offered = (await read('multi-queue-num-queues')) === null ? 1 : await number('multi-queue-num-queues');
  if (offered < 1 || offered > MAX_VIF_QUEUES)
    throw new Error(`multi-queue-num-queues ${offered} is not 1 to ${MAX_VIF_QUEUES}`);
  if (offered !== queues) throw new Error(`multi-queue-num-queues is ${offered}, the configuration has ${queues}`);
  const usesOffset = (await read('feature-rx-offset')) === '1';
  const takesGso = (await read('feature-gso-tcpv4')) === '1';
  const out: FrontKeys = { usesOffset, takesGso, queues: [], ctrl: null };
  for (let i = 0; i < offered; i++) {
    const dir = offered > 1 ? `queue-${i}/` : '';
    out.queues.push({
      tx: await gref(`${dir}tx-ring-ref`),
      rx: await gref(`${dir}rx-ring-ref`),
      port: await port(`${dir}event-channel`),
    });
  }
  if ((await read('ctrl-ring-ref')) !== null)
    out.ctrl = { ring: await gref('ctrl-ring-ref'), port: await port('event-channel-ctrl') };
  return out;
}
