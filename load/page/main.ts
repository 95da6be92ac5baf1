/** The live page in the browser: takes what the testbed sends and draws it, at most once per frame of the screen. */
import { CaptureView, ControlsView } from './controls.js';
import { Connection, type LinkState } from './connection.js';
import { CpuBars } from './cpu-bars.js';
import { byId, setText } from './dom.js';
import { startTheme } from './theme.js';
import { counted, duration, gbps, linkText, mega, named, rate } from './format.js';
import type { BedState, Facts, Point, Sample, ToBrowser } from './messages.js';
import { drawPath } from './path-view.js';
import { drawGuests, drawPoints, drawResults } from './tables.js';
import { Throughput } from './throughput.js';

/** As long as the server's own memory. */
const POINTS_KEPT = 1800;
/** Whoever wants less motion gets a picture every two seconds. */
const CALM_MS = 2000;

interface Held {
  facts: Facts;
  state: BedState;
  points: Point[];
  sample: Sample | null;
}

let held: Held | null = null;
/** What is on the screen while it is paused. */
let frozen: Held | null = null;
let linkState: LinkState = 'connecting';
let ended: string | null = null;
let throughput: Throughput | null = null;
let bars: CpuBars | null = null;
let wanted = false;
let drawnAt = -Infinity;
let drawnState = '';

const connection = new Connection({ message: heard, state: linked });
const controls = new ControlsView(connection);
const capture = new CaptureView(connection);
capture.onAnswer = () => showState();
controls.onAnswer = () => showState();
startTheme(() => {
  throughput?.recolour();
  drawnState = '';
  wish();
});
byId('pause').addEventListener('click', () => {
  frozen = frozen ? null : held && { ...held, points: [...held.points] };
  byId('pause').setAttribute('aria-pressed', String(frozen !== null));
  setText(byId('pause'), frozen ? 'Resume' : 'Pause');
  drawnState = '';
  showLink();
  wish();
});
byId('span').addEventListener('change', wish);
for (const details of document.querySelectorAll('details')) details.addEventListener('toggle', wish);
new ResizeObserver(() => {
  drawnState = '';
  wish();
}).observe(byId('path'));

function heard(message: ToBrowser): void {
  switch (message.type) {
    case 'hello': {
      const { facts, state, history, last } = message;
      const isSame = held?.facts.instance === facts.instance;
      if (!isSame) {
        frozen = null;
        byId('pause').setAttribute('aria-pressed', 'false');
        setText(byId('pause'), 'Pause');
        throughput = new Throughput(facts);
        bars = new CpuBars(facts);
        controls.begin(facts);
      }
      held = { facts, state, points: [...history], sample: last };
      ended = null;
      setText(
        byId('where'),
        `Testbed in ${facts.dir}. ${facts.mode === 'up' ? 'It stays until it is stopped.' : 'It ends with its comparison.'}`,
      );
      break;
    }
    case 'state':
      if (!held) return;
      tellFinished(held.state, message.state);
      held.state = message.state;
      break;
    case 'sample':
      if (!held) return;
      held.sample = message.sample;
      held.points.push(message.sample.point);
      if (held.points.length > POINTS_KEPT) held.points.shift();
      break;
    case 'ended':
      ended = message.reason;
      break;
    case 'answer':
    case 'beat':
      return;
  }
  showState();
  wish();
}

function linked(state: LinkState, why: string): void {
  const was = linkState;
  linkState = state;
  if (state === 'lost' && was === 'live') {
    notice(
      `${ended ?? (why || 'The connection is lost.')} These are the last figures. The page connects again by itself when a testbed answers here.`,
    );
  } else if (state === 'lost' && held === null) {
    notice(`${why || 'The testbed does not answer.'} The page tries again by itself.`);
  }
  if (state === 'live') notice('');
  showState();
}

function notice(text: string): void {
  setText(byId('notice'), text);
  byId('notice').hidden = text === '';
  setText(byId('news'), text);
}

/** Said aloud by screen readers: a configuration has its figures. Nothing more often. */
function tellFinished(before: BedState, after: BedState): void {
  const fresh = after.finished.find((f) => before.finished.find((b) => b.config === f.config)?.runs !== f.runs);
  if (fresh) setText(byId('news'), `${fresh.config} measured: ${gbps(fresh.delivered.gbps)} gigabits per second.`);
}

function showLink(): void {
  const pill = byId('link-state');
  const isOver = linkState === 'lost' && ended !== null;
  const [state, text] = isOver
    ? ['ended', 'ended']
    : linkState === 'live' && frozen
      ? ['paused', 'paused']
      : [linkState, linkState === 'lost' ? 'connection lost, trying again' : linkState];
  pill.dataset['state'] = state;
  setText(pill, text);
}

function showState(): void {
  showLink();
  if (!held) return;
  const { state } = held;
  controls.show(state, linkState === 'live');
  capture.show(state, linkState === 'live');
  setText(byId('state'), stateText(state));
}

const PHASES = {
  idle: 'finished',
  configure: 'configuring',
  warmup: 'warming up',
  measure: 'measuring',
  drain: 'draining',
} as const;

function stateText(state: BedState): string {
  if (!state.ready) return 'The testbed is starting';
  const e = state.experiment;
  if (e && e.phase !== 'idle') {
    const frames = `${Math.round(e.frameBytes)}-byte frames`;
    return `${named(e.config, e.direction)}, ${PHASES[e.phase]}: ${counted(e.guests, 'guest')}, ${frames}, ${linkText(e.linkGbps)}`;
  }
  const c = state.controls;
  const frames = c.frameBytes === 'imix' ? 'IMIX frames' : `${c.frameBytes}-byte frames`;
  return `${state.config}, ${c.loading ? `load of ${frames}, ${linkText(c.linkGbps)}` : 'no load'}${state.settled ? '' : ', vifs are connecting'}`;
}

function wish(): void {
  if (wanted) return;
  wanted = true;
  const calm = matchMedia('(prefers-reduced-motion: reduce)').matches;
  const delay = calm ? drawnAt + CALM_MS - performance.now() : 0;
  if (delay > 0) setTimeout(() => requestAnimationFrame(draw), delay);
  else requestAnimationFrame(draw);
}

function draw(): void {
  wanted = false;
  drawnAt = performance.now();
  const shown = frozen ?? held;
  if (!shown) return;
  const { facts, state, points, sample } = shown;
  throughput?.draw(points, state, Number(byId<HTMLSelectElement>('span').value));
  drawNow(sample);
  bars?.draw(state.finished, sample?.cpuNsPerFrame ?? null, sample?.point.c ?? '');
  drawPath(facts, sample, state);
  drawGuests(sample, state);
  const text = JSON.stringify([state.finished, state.experiment?.run]);
  if (text !== drawnState) drawResults(facts, state);
  drawnState = text;
  if (byId('points').closest('details')?.open) drawPoints(points);
}

function drawNow(sample: Sample | null): void {
  const p = sample?.path;
  setText(byId('now-gbps'), p ? gbps(p.delivered.gbps) : '-');
  setText(byId('now-fps'), p ? mega(p.delivered.fps) : '-');
  const drops = p ? Object.values(p.dropRates).reduce((a, b) => a + b, 0) : 0;
  setText(byId('now-drops'), p ? rate(drops) : '-');
  byId('now-drops').classList.toggle('bad', drops > 0);
  const l = sample?.latencyUs;
  setText(byId('now-latency'), l ? `${duration(l.p50)}, ${duration(l.p99)}` : '-');
}
