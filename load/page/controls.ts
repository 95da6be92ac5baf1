/** What the user can do on the page: the controls show what the testbed has, send what is wanted and say what became of it; captures. */
import type { Connection } from './connection.js';
import { byId, h, setText } from './dom.js';
import type { BedState, Facts } from './messages.js';

/** Captures: which vif and hop, start and stop, what has come, and the file. */
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

export class ControlsView {
  private readonly config = byId<HTMLSelectElement>('c-config');
  private readonly guests = byId<HTMLInputElement>('c-guests');
  private readonly frame = byId<HTMLInputElement>('c-frame');
  private readonly imix = byId<HTMLInputElement>('c-imix');
  private readonly link = byId<HTMLSelectElement>('c-link');
  private readonly load = byId<HTMLButtonElement>('c-load');
  private readonly fields = byId<HTMLFieldSetElement>('fields');
  private readonly connection: Connection;
  /** The user has changed something that is not applied yet: it is not overwritten. */
  private touched = false;
  private asking = false;
  private loading = false;

  constructor(connection: Connection) {
    this.connection = connection;
    const form = byId<HTMLFormElement>('controls');
    form.addEventListener('input', () => {
      this.touched = true;
      this.frame.disabled = this.imix.checked;
    });
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      void this.apply();
    });
    this.load.addEventListener('click', () => void this.ask({ op: this.loading ? 'stop' : 'start' }));
  }

  /** Of another testbed, perhaps: the choices are its own. */
  begin(facts: Facts): void {
    this.touched = false;
    this.config.replaceChildren(...facts.configs.map((name) => h('option', { value: name }, name)));
    this.link.replaceChildren(
      h('option', { value: '' }, 'unlimited'),
      ...facts.links.map((n) => h('option', { value: n }, `${n} Gb/s`)),
    );
    this.guests.max = String(facts.maxGuests);
    this.frame.min = String(facts.frames.min);
    this.frame.max = String(facts.frames.max);
    this.answer(true, '');
  }

  /** @param connected false: nothing can be asked for */
  show(state: BedState, connected: boolean): void {
    const c = state.controls;
    const why = connected
      ? (c.blocked ?? (c.busy === null ? '' : `Working: ${c.busy} …`))
      : 'There is no connection to the testbed.';
    // What was answered before a comparison took over is no longer so.
    if (c.blocked !== null) this.answer(true, '');
    setText(byId('blocked'), why);
    this.loading = c.loading;
    setText(this.load, c.loading ? 'Stop load' : 'Start load');
    const off = why !== '' || this.asking;
    if (this.fields.disabled !== off) {
      // A control that is switched off loses the keyboard; it gets it back.
      const had = document.activeElement;
      const isOurs = had instanceof HTMLElement && this.fields.contains(had);
      if (off && isOurs) this.focused = had;
      this.fields.disabled = off;
      if (!off && this.focused && document.activeElement === document.body) this.focused.focus();
      if (!off) this.focused = null;
    }
    if (this.touched || this.asking) return;
    const run = state.experiment !== null && state.experiment.phase !== 'idle' ? state.experiment : null;
    const { config, guests, frameBytes, linkGbps } = run ?? c;
    if (config !== '') this.config.value = config;
    if (guests > 0) this.guests.value = String(guests);
    // Only a mix of sizes has a mean that is no whole number.
    this.imix.checked = frameBytes === 'imix' || !Number.isInteger(frameBytes);
    if (!this.imix.checked) this.frame.value = String(frameBytes);
    this.frame.disabled = this.imix.checked;
    this.link.value = linkGbps === null ? '' : String(linkGbps);
  }

  private focused: HTMLElement | null = null;

  private async apply(): Promise<void> {
    // What is no number is sent as it is: the server says what is wrong with it.
    const ok = await this.ask({
      op: 'apply',
      config: this.config.value,
      guests: this.guests.valueAsNumber,
      frameBytes: this.imix.checked ? 'imix' : this.frame.valueAsNumber,
      linkGbps: this.link.value === '' ? null : Number(this.link.value),
    });
    if (ok) this.touched = false;
  }

  private async ask(request: Parameters<Connection['ask']>[0]): Promise<boolean> {
    this.asking = true;
    this.answer(true, '');
    const { ok, message } = await this.connection.ask(request);
    this.asking = false;
    this.answer(ok, message);
    this.onAnswer();
    return ok;
  }

  /** Called after an answer: the page shows its state again. */
  onAnswer: () => void = () => {};

  private answer(ok: boolean, message: string): void {
    const node = byId('answer');
    node.dataset['ok'] = String(ok);
    setText(node, message === '' ? '' : message[0].toUpperCase() + message.slice(1));
  }
}
