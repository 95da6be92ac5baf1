/** What was written goes out before the process ends: exit() drops what the reader of a pipe has not taken yet, which is
 *  all beyond its 64 KiB when the reader is slow, and a record of a run is twice as long. */

/** What nobody reads any more is not written, and that is no fault. */
const READER_GONE = ['EPIPE', 'ECONNRESET'];

/** Watches both streams for as long as the process lives.
 *  @returns tells the code of the error that kept something from the standard output, or null */
export function watchOutput(): () => string | null {
  let lost: string | null = null;
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (!READER_GONE.includes(error.code ?? '')) lost ??= error.code ?? error.message;
  });
  // There is no place left to tell of this one.
  process.stderr.on('error', () => {});
  return () => lost;
}

/** @returns when stdout and stderr have nothing left to write, or nobody reads them any more */
export async function flushed(
  streams: readonly NodeJS.WriteStream[] = [process.stdout, process.stderr],
): Promise<void> {
  const waiting = streams.filter((s) => s.writableLength > 0 && !s.destroyed);
  await Promise.all(waiting.map((s) => new Promise<void>((done) => void s.write('', () => done()))));
  // The error of a write that was over at once is told in the next turn.
  await new Promise((done) => setImmediate(done));
}
