/** What a domain asks of its hypervisor, whichever way it reaches it. The service's HypervisorClient is one;
 *  a test's hypervisor in memory is another. docs/wire/control-plane.md section 3, docs/wire/hypercall.md. */
import type { DomId } from '@grantline/base';
import type { SharedKind } from './wire.js';

/** The part that batches need. */
export interface HypercallPort {
  /** Sends a hypercall batch: a whole message of which the first four bytes (seq) are filled in here.
   *
   *  The bytes are not copied: they must stay as they are until `onReply` is called. Then the hypervisor has read them.
   *  Replies come in the order of the calls. After the connection has closed no reply comes.
   *  @param onReply gets the whole reply; it may keep it */
  hypercall(bytes: Buffer, onReply: (reply: Buffer) => void): void;
}

export interface HypervisorPort extends HypercallPort {
  /** The caller's own. */
  readonly domid: DomId;
  /** Asks the hypervisor for something. @throws HypervisorError with the code of the refusal, or ECLOSED */
  request<T = Record<string, never>>(op: string, args: object): Promise<T>;
  /** Gets what this domain shares with others. @param domid whose, or with whom; else this domain
   *  @returns a descriptor, to be closed by the caller
   *  @throws HypervisorError when this domain has no right to it; Error with a code when nobody hands out descriptors there */
  descriptor(of: SharedKind, domid?: DomId): Promise<number>;
  /** Calls `fn` at each event of that name. Events that came before anybody asked are delivered now, in order. */
  onEvent<A = Record<string, unknown>>(name: string, fn: (args: A) => void): void;
}
