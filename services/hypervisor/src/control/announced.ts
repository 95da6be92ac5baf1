/** Whether an address that a domain announces is its own: others - the operator's commands, Prometheus - will go there because the
 *  hypervisor said so. docs/wire/control-plane.md section 3.
 *
 *  Of this machine, or of where the domain connected from: the listener there is asked for a proof that only the domain can make.
 *  In a container, in a network that the hypervisor is no part of: it must be a container's number, which is its name unless somebody
 *  gave it another, and nobody else's. */
import { randomBytes, timingSafeEqual } from 'node:crypto';
import { get } from 'node:http';
import { isIP } from 'node:net';
import { hostname, networkInterfaces } from 'node:os';
import { isLoopback } from '@grantline/base';
import { PROOF_PATH, proofOf } from '@grantline/service';

/** How an address that a domain announces is judged. */
export interface AnnounceRule {
  /** Domains may be in containers. */
  containers: boolean;
  /** Milliseconds that the listener has to prove it. */
  limitMs: number;
}

interface Announcer {
  readonly controlKey: string;
  /** Where its connection comes from; null: the socket file. */
  readonly from: string | null;
}

/** A container's number, as its name. */
const CONTAINER = /^[0-9a-f]{12}$/;

/** @param http as announced. @returns null when it is the domain's own, else why not */
export async function whyNotOwn(http: string, who: Announcer, rule: AnnounceRule): Promise<string | null> {
  if (!isOrigin(http)) return 'http is not of the form http://host:port';
  const host = new URL(http).hostname.replace(/^\[|\]$/g, '');
  if (!isHere(host) && host !== plain(who.from)) {
    if (!rule.containers || who.from !== null) return `${host} is not where the domain is`;
    return CONTAINER.test(host) ? null : `${host} is not the number of a container: give it no hostname`;
  }
  const question = randomBytes(32).toString('hex');
  const answer = await ask(`${http.replace(/\/$/, '')}${PROOF_PATH}?question=${question}`, rule.limitMs);
  const right = Buffer.from(proofOf(who.controlKey, question));
  const proven = answer.length === right.length && timingSafeEqual(answer, right);
  return proven ? null : `who listens at ${http} is not the domain, or nobody does`;
}

/** Others make addresses of it: it must be one, and no more than one. */
function isOrigin(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { href, origin, protocol } = new URL(text);
  return protocol === 'http:' && href === `${origin}/`;
}

/** An address or a name of this machine. */
const isHere = (host: string): boolean =>
  isLoopback(host) ||
  host === hostname().toLowerCase() ||
  (isIP(host) !== 0 && Object.values(networkInterfaces()).some((all) => all?.some(({ address }) => address === host)));

/** An IPv4 address as such, also where an IPv6 socket carries it. */
const plain = (address: string | null): string | null => address?.replace(/^::ffff:(?=\d+\.)/i, '') ?? null;

/** Bytes of a proof. */
const ANSWER_BYTES = 64;

/** @returns the body, empty when none comes in time or it is no proof */
function ask(url: string, limitMs: number): Promise<Buffer> {
  const none = Buffer.alloc(0);
  return new Promise((resolve) => {
    // No agent: a connection that stayed open would be another's time.
    const request = get(url, { agent: false }, (response) => {
      const got: Buffer[] = [];
      let bytes = 0;
      response.on('data', (part: Buffer) => {
        got.push(part);
        bytes += part.length;
        if (bytes > ANSWER_BYTES) end(none);
      });
      response.on('end', () => end(response.statusCode === 200 ? Buffer.concat(got) : none));
      response.on('error', () => end(none));
    });
    const timer = setTimeout(() => end(none), limitMs);
    const end = (answer: Buffer): void => {
      clearTimeout(timer);
      resolve(answer);
      request.destroy();
    };
    request.on('error', () => end(none));
  });
}
