/** What a stack knows and no peer: 128 bits from the system's generator, drawn when it begins. A type of its own, so that
 *  nothing seeded or shorter can stand for it. */
const BYTES = 16;

export class Secret {
  /** Four words, little-endian as SipHash reads its key. */
  readonly words: Int32Array;

  private constructor(bytes: Uint8Array) {
    const dv = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    this.words = Int32Array.from({ length: 4 }, (_, i) => dv.getInt32(4 * i, true));
  }

  static fresh(): Secret {
    return new Secret(crypto.getRandomValues(new Uint8Array(BYTES)));
  }

  /** A known one, for tests that compare. @throws RangeError when it is not 16 bytes */
  static known(bytes: Uint8Array): Secret {
    if (bytes.length !== BYTES) throw new RangeError(`a secret has ${BYTES} bytes, not ${bytes.length}`);
    return new Secret(bytes);
  }
}
