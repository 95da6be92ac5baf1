/** The extra-info slot of a receive response, as netback writes it behind the first slot of a packet that was not cut into
 *  frames. Sources: Xen public/io/netif.h; Linux drivers/net/xen-netfront.c (xennet_get_extras, xennet_set_skb_gso). */
import {
  NETRXF_CSUM_BLANK,
  XEN_NETIF_EXTRA_FLAG_MORE,
  XEN_NETIF_EXTRA_TYPE_GSO,
  XEN_NETIF_GSO_TYPE_TCPV4,
  extraFlags,
  extraType,
  gsoMss,
  gsoType,
} from '@grantline/xen';
import type { Mem } from '@grantline/machine';
import { RX_CSUM_BLANK, RX_FRAMES_SHIFT, bulkFrames } from '@grantline/measure';

/** @param low, high the slot's two words
 *  @returns payload of each frame; 0 when the slot holds anything else than the one kind that there is */
export function readGso(low: number, high: number): number {
  if (extraType(low) !== XEN_NETIF_EXTRA_TYPE_GSO || (extraFlags(low) & XEN_NETIF_EXTRA_FLAG_MORE) !== 0) return 0;
  return gsoType(high) === XEN_NETIF_GSO_TYPE_TCPV4 ? gsoMss(low) : 0;
}

/** What the stack is told of a packet. @param flags NETRXF_* of its first slot @param mss 0: a frame
 *  @returns the word, or -1: netback says that the packet can be cut, its headers say no */
export function rxInfo(mem: Mem, flags: number, mss: number, at: number, linear: number, bytes: number): number {
  const blank = (flags & NETRXF_CSUM_BLANK) === 0 ? 0 : RX_CSUM_BLANK;
  if (mss === 0) return blank;
  const frames = bulkFrames(mem, at, linear, bytes, mss);
  return frames === 0 ? -1 : blank | (frames << RX_FRAMES_SHIFT) | mss;
}
