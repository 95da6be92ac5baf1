/** What a stack knows and no peer, and numbers made of it. */

/** What a hash is for, its last word: nothing learnt from one tells about another. */
export const FOR_TABLE = 0;
export const FOR_PORTS = 1;
export const FOR_ISN = 2;
export const FOR_TIMESTAMPS = 3;
export const FOR_IP_ID = 4;
export const FOR_COOKIE = 5;
export const FOR_LIMITS = 6;

/** Of a secret. */
const SECRET_BYTES = 16;

const LENGTH = 16 << 24;

/** What an addition of low halves carries into the high ones; by bits, because a branch here costs twice the time. */
const carry = (a: number, b: number, sum: number): number => ((a & b) | ((a | b) & ~sum)) >>> 31;

/** SipHash-2-4 over four words, keyed with all 128 bits of a secret: what a peer without it can neither predict nor aim at.
 *  For initial sequence numbers (RFC 6528) and SYN cookies (RFC 4987), timestamp offsets (RFC 7323, 7.1), ephemeral ports
 *  (RFC 6056), identifications of fragments (RFC 7739) and the connection table.
 *  Source: Aumasson, Bernstein: SipHash. Words of 64 bits are pairs of 32: h the high half, l the low one. */
export class KeyedHash {
  private readonly k0l: number;
  private readonly k0h: number;
  private readonly k1l: number;
  private readonly k1h: number;

  constructor(secret: Secret) {
    [this.k0l, this.k0h, this.k1l, this.k1h] = secret.words;
  }

  /** @returns a signed 32-bit number */
  of(a: number, b: number, c: number, d: number): number {
    let v0l = this.k0l ^ 0x70736575;
    let v0h = this.k0h ^ 0x736f6d65;
    let v1l = this.k1l ^ 0x6e646f6d;
    let v1h = this.k1h ^ 0x646f7261;
    let v2l = this.k0l ^ 0x6e657261;
    let v2h = this.k0h ^ 0x6c796765;
    let v3l = this.k1l ^ 0x79746573 ^ a;
    let v3h = this.k1h ^ 0x74656462 ^ b;
    // Two rounds for each of three words, the third with the length (16) in its high byte; four to finish.
    for (let round = 0; round < 10; round++) {
      if (round === 2) {
        v0l ^= a;
        v0h ^= b;
        v3l ^= c;
        v3h ^= d;
      } else if (round === 4) {
        v0l ^= c;
        v0h ^= d;
        v3h ^= LENGTH;
      } else if (round === 6) {
        v0h ^= LENGTH;
        v2l ^= 0xff;
      }
      let l = (v0l + v1l) | 0;
      v0h = (v0h + v1h + carry(v0l, v1l, l)) | 0;
      let h = ((v1h << 13) | (v1l >>> 19)) ^ v0h;
      v1l = ((v1l << 13) | (v1h >>> 19)) ^ l;
      v1h = h;
      // Rotated by 32: the halves change places.
      v0l = v0h;
      v0h = l;
      l = (v2l + v3l) | 0;
      v2h = (v2h + v3h + carry(v2l, v3l, l)) | 0;
      v2l = l;
      h = ((v3h << 16) | (v3l >>> 16)) ^ v2h;
      v3l = ((v3l << 16) | (v3h >>> 16)) ^ v2l;
      v3h = h;
      l = (v0l + v3l) | 0;
      v0h = (v0h + v3h + carry(v0l, v3l, l)) | 0;
      v0l = l;
      h = ((v3h << 21) | (v3l >>> 11)) ^ v0h;
      v3l = ((v3l << 21) | (v3h >>> 11)) ^ v0l;
      v3h = h;
      l = (v2l + v1l) | 0;
      v2h = (v2h + v1h + carry(v2l, v1l, l)) | 0;
      h = ((v1h << 17) | (v1l >>> 15)) ^ v2h;
      v1l = ((v1l << 17) | (v1h >>> 15)) ^ l;
      v1h = h;
      v2l = v2h;
      v2h = l;
    }
    return v0l ^ v1l ^ v2l ^ v3l;
  }
}

/** What a stack knows and no peer: 128 bits from the system's generator, drawn when it begins. A type of its own, so that
 *  nothing seeded or shorter can stand for it. */
export class Secret {
  /** Four words, little-endian as SipHash reads its key. */
  readonly words: Int32Array;

  private constructor(bytes: Uint8Array) {
    const dv = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    this.words = Int32Array.from({ length: 4 }, (_, i) => dv.getInt32(4 * i, true));
  }

  static fresh(): Secret {
    return new Secret(crypto.getRandomValues(new Uint8Array(SECRET_BYTES)));
  }

  /** A known one, for tests that compare. @throws RangeError when it is not 16 bytes */
  static known(bytes: Uint8Array): Secret {
    if (bytes.length !== SECRET_BYTES) throw new RangeError(`a secret has ${SECRET_BYTES} bytes, not ${bytes.length}`);
    return new Secret(bytes);
  }
}
