/** Which frames are a measured run's: those to the generator's port, and requests, which are UDP. */
import {
  ETHERTYPE_IPV4,
  ETH_BYTES,
  ETH_TYPE,
  PROTO_TCP,
  PROTO_UDP,
  GENERATOR_PORT,
  RESPOND_PORT,
} from '@grantline/frames';
import type { Mem } from '@grantline/machine';

const L4 = ETH_BYTES + 20;
const PLAIN_IPV4 = 0x45;

/** @param off, len the frame's first piece */
export function isMeasured(mem: Mem, off: number, len: number): boolean {
  if (len < L4 + 4) return false;
  const { dv, u8 } = mem;
  const port = dv.getUint16(off + L4 + 2);
  const protocol = u8[off + ETH_BYTES + 9];
  if (port !== GENERATOR_PORT && !(port === RESPOND_PORT && protocol === PROTO_UDP)) return false;
  return (
    dv.getUint16(off + ETH_TYPE) === ETHERTYPE_IPV4 &&
    u8[off + ETH_BYTES] === PLAIN_IPV4 &&
    (protocol === PROTO_TCP || protocol === PROTO_UDP)
  );
}
