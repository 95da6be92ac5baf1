/** How things fail: by a message for the user, with text of others that is fit to be printed, and with what was set up undone. */

/** Something that the user can put right: a bad setting, a port in use, a wrong secret. A main prints its message as one
 *  line on stderr and exits with code 2; so the message says what is wrong and what to do. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

// Control characters of both sets, the separators that some terminals take for the end of a line, what turns or hides the direction of
// text, and halves of surrogate pairs. Letters of all scripts stay.
const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;

/** What a domain or another program has said, as one line that does nothing but be read: where a guest's text becomes part of a
 *  message, or is printed. Control characters, and with them escape sequences, become U+FFFD; tabs and line ends, spaces.
 *  @param max characters kept; what is cut ends in "..." */
export function printable(text: string, max: number): string {
  // Cut before it is looked through: it may be long.
  const kept = text.length > max ? `${text.slice(0, Math.max(0, max - 3))}...` : text;
  return kept
    .replace(/[\t\r\n]+/g, ' ')
    .replace(UNPRINTABLE, '\ufffd')
    .trim();
}

/** As `printable`, for text of several lines, which stay lines. */
export function printableLines(text: string, max: number): string {
  return text
    .slice(0, max)
    .split('\n')
    .map((line) => line.replaceAll('\t', ' ').replace(UNPRINTABLE, '\ufffd'))
    .join('\n');
}

/** What was set up, undone in reverse: last pushed, first undone. So a set-up that fails half-way gives everything back. */
export class UndoStack {
  private readonly steps: (() => unknown)[] = [];

  push(step: () => unknown): void {
    this.steps.push(step);
  }

  /** Undoes everything. A step that fails does not keep the others from running. @returns what failed */
  async run(): Promise<unknown[]> {
    const failures: unknown[] = [];
    for (let step = this.steps.pop(); step !== undefined; step = this.steps.pop()) {
      try {
        await step();
      } catch (error) {
        failures.push(error);
      }
    }
    return failures;
  }
}
