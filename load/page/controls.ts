/** The controls: show what the testbed has, send what the user wants, say what became of it. */
import type { Connection } from './connection.js';
import { byId, h, setText } from './dom.js';
import type { BedState, Facts } from './messages.js';

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
