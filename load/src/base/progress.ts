/** What stands on the screen while it runs: lines on stderr, and one live line when that is a terminal. */

export interface Progress {
  /** True when the live line is seen: only then is it worth asking for figures. */
  readonly isLive: boolean;
  /** A line that stays. */
  line(text: string): void;
  /** The live line: replaced by the next one; nothing when stderr is no terminal. */
  live(text: string): void;
  /** Takes the live line away. */
  clear(): void;
}

export function terminalProgress(stream: NodeJS.WriteStream = process.stderr): Progress {
  let shown = false;
  const clear = (): void => {
    if (!shown) return;
    stream.write('\r\x1b[K');
    shown = false;
  };
  return {
    isLive: stream.isTTY,
    line(text) {
      clear();
      stream.write(`${text}\n`);
    },
    live(text) {
      if (!stream.isTTY) return;
      stream.write(`\r\x1b[K${text.slice(0, Math.max(20, (stream.columns || 80) - 1))}`);
      shown = true;
    },
    clear,
  };
}

/** For tests and for --quiet: says nothing. */
export const silent: Progress = { isLive: false, line() {}, live() {}, clear() {} };
