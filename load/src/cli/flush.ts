/** What was written goes out before the process ends: exit() drops what the reader of a pipe has not taken yet, which is
 *  all beyond its 64 KiB when the reader is slow, and a record of a run is twice as long. */

/** @returns when stdout and stderr have nothing left to write, or nobody reads them any more */
export async function flushed(
  streams: readonly NodeJS.WriteStream[] = [process.stdout, process.stderr],
): Promise<void> {
  const waiting = streams.filter((s) => s.writableLength > 0 && !s.destroyed);
  await Promise.all(waiting.map((s) => new Promise<void>((done) => void s.write('', () => done()))));
}
