/** Captures: which vif and hop, start and stop, what has come, and the file. */
import type { Connection } from './connection.js';
import { byId, h, setText } from './dom.js';
import type { BedState } from './messages.js';

export class CaptureView {
  private readonly vif = byId<HTMLSelectElement>('cap-vif');
  private readonly hop = byId<HTMLSelectElement>('cap-hop');
  private readonly go = byId<HTMLButtonElement>('cap-go');
  private readonly link = byId<HTMLAnchorElement>('cap-file');
  private readonly connection: Connection;
  private running = false;
  private asking = false;
  private shown = '';

  constructor(connection: Connection) {
    this.connection = connection;
    byId<HTMLFormElement>('capture-form').addEventListener('submit', (event) => {
      event.preventDefault();
      void this.ask();
    });
  }

  /** @param connected false: nothing can be asked for */
  show(state: BedState, connected: boolean): void {
    const c = state.capture;
    this.running = c !== null && c.running !== null;
    const choices = JSON.stringify([state.vifs.map((v) => v.vif), c?.hops]);
    if (choices !== this.shown) {
      this.shown = choices;
      fill(
        this.vif,
        state.vifs.map((v) => [v.vif, v.vif]),
      );
      fill(this.hop, [['all', 'all hops'], ...(c?.hops ?? []).map((hop): [string, string] => [hop, hop])]);
    }
    const off = !connected || c === null || this.asking;
    this.go.disabled = off || (!this.running && this.vif.value === '');
    this.vif.disabled = this.hop.disabled = off || this.running;
    setText(this.go, this.running ? 'Stop capture' : 'Start capture');
    setText(byId('cap-state'), c === null ? '' : stateText(c));
    const { file } = c ?? { file: null };
    this.link.hidden = file === null;
    if (file === null) this.link.removeAttribute('href');
    else {
      this.link.href = `/capture/${file.id}.pcapng`;
      this.link.download = file.name;
      setText(this.link, `Download ${file.name}`);
    }
  }

  private async ask(): Promise<void> {
    this.asking = true;
    this.go.disabled = true;
    const { ok, message } = await this.connection.ask(
      this.running
        ? { op: 'capture-stop' }
        : { op: 'capture', vif: this.vif.value, hop: this.hop.value as 'all' | 'nic' | 'bridge' | 'guest' },
    );
    this.asking = false;
    const node = byId('cap-answer');
    node.dataset['ok'] = String(ok);
    setText(node, message);
    this.onAnswer();
  }

  /** Called after an answer: the page shows its state again. */
  onAnswer: () => void = () => {};
}

function stateText(c: NonNullable<BedState['capture']>): string {
  const frames = c.frames.map(
    ({ hop, frames, overflow }) =>
      `${hop} ${frames.toLocaleString('en')} frames${overflow === 0 ? '' : ` (${overflow.toLocaleString('en')} more found the ring full)`}`,
  );
  if (frames.length === 0) return c.note;
  const size = `${(c.bytes / 1e6).toFixed(c.bytes < 1e7 ? 2 : 0)} MB`;
  return `${frames.join(', ')}; ${size}. ${c.note}`.trim();
}

/** Puts the choices, and keeps what was chosen where it still can be. */
function fill(select: HTMLSelectElement, choices: [value: string, label: string][]): void {
  const before = select.value;
  select.replaceChildren(...choices.map(([value, label]) => h('option', { value }, label)));
  if (choices.some(([value]) => value === before)) select.value = before;
}
