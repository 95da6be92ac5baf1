/** Which frames are a measured run's: those to the generator's port, and requests, which are UDP. Asked of every frame, so the
 *  port comes first, where a generator's frames have it: nothing is looked for (locate.ts). */
import {
  ETHERTYPE_IPV4,
  ETH_BYTES,
  ETH_TYPE,
  IP_BYTES,
  IP_PROTOCOL,
  PROTO_TCP,
  PROTO_UDP,
  GENERATOR_PORT,
  RESPOND_PORT,
  TCP_DST,
} from '@grantline/frames';
import type { Mem } from '@grantline/machine';

const L4 = ETH_BYTES + IP_BYTES;
const PLAIN_IPV4 = 0x45;

/** @param off, len the frame's first piece */
export function isMeasured(mem: Mem, off: number, len: number): boolean {
  if (len < L4 + 4) return false;
  const { dv, u8 } = mem;
  const port = dv.getUint16(off + L4 + TCP_DST);
  const protocol = u8[off + ETH_BYTES + IP_PROTOCOL];
  if (port !== GENERATOR_PORT && !(port === RESPOND_PORT && protocol === PROTO_UDP)) return false;
  return (
    dv.getUint16(off + ETH_TYPE) === ETHERTYPE_IPV4 &&
    u8[off + ETH_BYTES] === PLAIN_IPV4 &&
    (protocol === PROTO_TCP || protocol === PROTO_UDP)
  );
}
