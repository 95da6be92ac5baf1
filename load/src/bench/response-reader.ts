/** Reads HTTP/1.1 responses of known length from the bytes of a connection, and keeps counts instead of bodies. */

/** Longest head that is waited for. */
const HEAD_LIMIT = 16 << 10;

export class ResponseReader {
  /** Of bodies, those under way too. */
  bytes = 0;
  /** Whole ones with status 200. */
  answers = 0;
  /** Responses with another status, or without a length: what follows on their connection is not read. */
  faults = 0;
  /** The begin of a head; '' inside a body. */
  private head = '';
  /** Bytes of the body that are to come; -1: a head is. */
  private left = -1;

  /** @param bytes how many of the buffer are new @returns how many responses ended with them */
  take(buffer: Buffer, bytes: number): number {
    let ended = 0;
    for (let at = 0; at < bytes && this.faults === 0;) {
      if (this.left < 0) {
        at = this.takeHead(buffer, at, bytes);
      } else {
        const part = Math.min(this.left, bytes - at);
        this.bytes += part;
        this.left -= part;
        at += part;
      }
      if (this.left === 0) {
        this.left = -1;
        this.answers++;
        ended++;
      }
    }
    return ended;
  }

  /** @returns where the body begins; the end where it does not yet */
  private takeHead(buffer: Buffer, at: number, end: number): number {
    const before = this.head.length;
    const head = this.head + buffer.toString('latin1', at, Math.min(end, at + HEAD_LIMIT));
    const close = head.indexOf('\r\n\r\n');
    if (close < 0) {
      this.head = head;
      if (head.length > HEAD_LIMIT) this.faults++;
      return end;
    }
    this.head = '';
    const [, length] = /\r\ncontent-length: *(\d+)/i.exec(head.slice(0, close)) ?? [];
    if (length === undefined || !/^HTTP\/1\.1 200 /.test(head)) this.faults++;
    else this.left = Number(length);
    return at + close + 4 - before;
  }
}
