/** The picture of the path: cable, NIC, driver domain, hypervisor, guests, with the rates of now on its edges. */
import { byId, paint, putTable, s, type Cell } from './dom.js';
import { counted, dropName, named, percent, rate } from './format.js';
import type { BedState, Facts, Flow, PathRates, Sample, VifState } from './messages.js';

// Where things stand, in pixels: side by side where there is room, else one below the other. It touches no document.

export interface Box {
  x: number;
  y: number;
  w: number;
  h: number;
}

interface Spot {
  x: number;
  y: number;
}

interface Edge {
  /** SVG paths. */
  lines: string[];
  /** First line of its text. */
  label: Spot;
  anchor: 'start' | 'middle';
}

interface Layout {
  width: number;
  height: number;
  boxes: { cable: Box; nic: Box; dd: Box; hv: Box };
  guests: Box[];
  edges: { cable: Edge; defaultQueue: Edge; guestQueues: Edge; rings: Edge };
  calls: { lines: string[]; label: Spot; anchor: 'start' | 'end' };
}

const right = (b: Box): number => b.x + b.w;
const midX = (b: Box): number => b.x + b.w / 2;
const midY = (b: Box): number => b.y + b.h / 2;

/** @param width of the picture, @param guests how many are drawn, from 1 */
export function layoutOf(width: number, guests: number): Layout {
  return width >= 600 ? wide(width, guests) : tall(width, guests);
}

/** From the left, along at a height, up or down a shaft, and right into each guest. */
const branches = (from: string, shaft: number, guests: readonly Box[], offset: number): string[] =>
  guests.map((g) => `${from}H${shaft}V${midY(g) + offset}H${g.x}`);

const GUEST_H = 58;
const GUEST_GAP = 12;

function wide(width: number, guests: number): Layout {
  const w = Math.min(140, width * 0.152);
  const guestW = Math.min(180, width * 0.215);
  const gap = (width - 3 * w - guestW - 2) / 3;
  const stack = guests * GUEST_H + (guests - 1) * GUEST_GAP;
  const height = Math.max(stack, 200);
  const y = 8;
  const dd = { x: 1 + 2 * (w + gap), y: y + 22, w, h: 58 };
  const cable = { x: 1, y: y + 84, w, h: 58 };
  const nic = { x: 1 + w + gap, y: cable.y, w, h: 58 };
  const first = guests === 1 ? dd.y : y + Math.max(0, (height - stack) / 2 - 10);
  const column = Array.from({ length: guests }, (_, i) => ({
    ...{ x: width - guestW - 1, y: first + i * (GUEST_H + GUEST_GAP), w: guestW, h: GUEST_H },
  }));
  const hv = { x: nic.x, y: y + height + 42, w: right(dd) - nic.x, h: 44 };
  const dmaY = y + 184;
  const middle = (a: Box, b: Box): number => (right(a) + b.x) / 2;
  return {
    width,
    height: Math.max(hv.y + hv.h, y + stack + 34) + 6,
    boxes: { cable, nic, dd, hv },
    guests: column,
    edges: {
      cable: {
        lines: [`M${right(cable)} ${midY(cable)}H${nic.x}`],
        label: { x: middle(cable, nic), y: midY(nic) - 38 },
        anchor: 'middle',
      },
      defaultQueue: {
        lines: [`M${right(nic)} ${midY(nic) - 14}H${middle(nic, dd)}V${midY(dd)}H${dd.x}`],
        label: { x: middle(nic, dd), y: midY(dd) - 38 },
        anchor: 'middle',
      },
      guestQueues: {
        lines: branches(`M${midX(nic)} ${nic.y + nic.h}V${dmaY}`, column[0].x - 14, column, 11),
        label: { x: midX(nic) + 8, y: dmaY + 17 },
        anchor: 'start',
      },
      rings: {
        lines: branches(`M${right(dd)} ${midY(dd) - (guests === 1 ? 11 : 0)}`, column[0].x - 30, column, -11),
        label: { x: middle(dd, column[0]), y: Math.max(14, Math.min(midY(dd), midY(column[0])) - 11 - 36) },
        anchor: 'middle',
      },
    },
    calls: {
      lines: [`M${midX(dd)} ${dd.y + dd.h}V${hv.y}`],
      label: { x: midX(dd) - 8, y: dd.y + dd.h + 44 },
      anchor: 'end',
    },
  };
}

function tall(width: number, guests: number): Layout {
  const w = Math.min(150, width * 0.42);
  const box = (y: number): Box => ({ x: 1, y, w, h: 54 });
  const cable = box(4);
  const nic = box(122);
  const dd = box(248);
  const column = Array.from({ length: guests }, (_, i) => ({ x: 1, y: 378 + i * 68, w: width * 0.64, h: GUEST_H }));
  const last = column[column.length - 1];
  const hv = { x: 1, y: last.y + last.h + 46, w: width - 2, h: 44 };
  const dmaX = w + 18;
  const down = (from: Box, to: Box, x: number): string => `M${x} ${from.y + from.h}V${to.y}`;
  return {
    width,
    height: hv.y + hv.h + 6,
    boxes: { cable, nic, dd, hv },
    guests: column,
    edges: {
      cable: {
        lines: [down(cable, nic, midX(cable))],
        label: { x: midX(cable) + 10, y: cable.y + cable.h + 18 },
        anchor: 'start',
      },
      defaultQueue: {
        lines: [down(nic, dd, midX(nic) - 40)],
        label: { x: midX(nic) - 32, y: nic.y + nic.h + 22 },
        anchor: 'start',
      },
      guestQueues: {
        lines: [`M${right(nic)} ${midY(nic)}H${dmaX}V${column[0].y}`],
        label: { x: dmaX + 8, y: midY(nic) + 4 },
        anchor: 'start',
      },
      rings: {
        lines: [down(dd, column[0], midX(dd) - 40)],
        label: { x: midX(dd) - 32, y: dd.y + dd.h + 22 },
        anchor: 'start',
      },
    },
    calls: {
      lines: [`M${right(dd)} ${midY(dd) + 14}H${width - 14}V${hv.y}`],
      label: { x: dmaX + 8, y: midY(dd) + 34 },
      anchor: 'start',
    },
  };
}

/** More guests than this are drawn as one. */
const GUESTS_DRAWN = 4;
/** Drops of so many reasons are drawn at a box; the others stand in the table. */
const REASONS_DRAWN = 2;

/** Which box shows the drops of a kind of counter. */
const PLACE: Readonly<Record<string, 'cable' | 'nic' | 'dd' | 'guest'>> = {
  cable: 'cable',
  nic: 'nic',
  nicQueue: 'nic',
  driver: 'dd',
  bridge: 'dd',
  netback: 'dd',
  netfront: 'guest',
  nicTx: 'nic',
  netbackTx: 'dd',
  netfrontTx: 'guest',
  net: 'guest',
  stack: 'guest',
};

/** "● connected": a shape and a word for the state of a vif. */
export function vifText(v: VifState): string {
  const mark = (state: string): string => (state === 'connected' ? '●' : state === 'closed' ? '○' : '◐');
  if (v.error !== null) return `✕ ${v.backend} / ${v.frontend}`;
  return v.backend === v.frontend ? `${mark(v.backend)} ${v.backend}` : `◐ back ${v.backend}, front ${v.frontend}`;
}

export function drawPath(facts: Facts, sample: Sample | null, state: BedState): void {
  const box = byId('path');
  const guests = state.domains.filter((d) => d.kind === 'guest');
  const rows = guests.length > GUESTS_DRAWN ? 1 : Math.max(1, guests.length);
  const layout = layoutOf(Math.max(280, box.clientWidth), rows);
  const config = sample?.point.c ?? state.config;
  const isNative = config === 'native';
  const tone = facts.configs.includes(config) ? `config-${config}` : 'config-custom';
  const p = sample?.path ?? null;
  const root = s('svg', {
    viewBox: `0 0 ${layout.width} ${layout.height}`,
    height: layout.height,
    'aria-hidden': 'true',
  });
  const draw = new Pen(root, layout, tone, p?.out ?? false);
  draw.calls(p);
  draw.edge('cable', p?.cable ?? null);
  draw.edge('defaultQueue', p?.defaultQueue ?? null);
  draw.edge('guestQueues', p?.guestQueues ?? null);
  draw.edge('rings', p?.rings ?? null);
  const { cable, nic, dd, hv } = layout.boxes;
  draw.box(cable, 'cable', [cableText(p)]);
  draw.box(nic, 'NIC', [`${counted(guests.length, 'guest')}`, named(config, sample?.point.d)]);
  draw.box(dd, 'driver domain', isNative && !p?.out ? delivered(p) : ['driver, bridge', 'netback']);
  draw.box(hv, 'hypervisor', ['grants, DMA table, event channels'], 'hv');
  for (let i = 0; i < rows; i++) {
    const of = guests.length > GUESTS_DRAWN ? null : guests[i];
    const vif = state.vifs.find((v) => v.domid === of?.domid);
    const own = sample?.receivers.find((r) => r.domid === of?.domid && r.name !== 'driver-domain');
    const lines = of
      ? [vif ? `${vif.vif} ${vifText(vif)}` : of.state, own ? `${own.gbps.toFixed(2)} Gb/s` : '']
      : [guests.length > GUESTS_DRAWN ? connectedText(state.vifs) : '', isNative ? '' : (delivered(p)[0] ?? '')];
    draw.box(layout.guests[i], of?.name ?? counted(guests.length, 'guest'), lines);
  }
  drawDrops(draw, layout, p);
  draw.end();
  box.replaceChildren(root);
  pathTable(p);
}

function cableText(p: PathRates | null): string {
  if (p?.out) return 'far end';
  return p && p.paused > 0.005 ? `paused ${percent(p.paused)}` : 'generator';
}

const delivered = (p: PathRates | null): string[] =>
  p ? [`${p.delivered.gbps.toFixed(2)} Gb/s`, p.out ? 'to the far end' : 'to the application'] : ['', ''];

function connectedText(vifs: readonly VifState[]): string {
  const up = vifs.filter((v) => v.backend === 'connected' && v.frontend === 'connected').length;
  return `${up} of ${vifs.length} vifs connected`;
}

function drawDrops(draw: Pen, layout: Layout, p: PathRates | null): void {
  if (p === null) return;
  const { cable, nic, dd } = layout.boxes;
  const boxes = { cable, nic, dd, guest: layout.guests[layout.guests.length - 1] };
  for (const [place, box] of Object.entries(boxes)) {
    const own = Object.entries(p.drops)
      .filter(([key]) => PLACE[key.split('.')[0]] === place)
      .sort((a, b) => (p.dropRates[b[0]] ?? 0) - (p.dropRates[a[0]] ?? 0) || b[1] - a[1]);
    for (const [i, [key, count]] of own.slice(0, REASONS_DRAWN).entries()) {
      const now = p.dropRates[key] ?? 0;
      const reason = dropName(key).split(': ')[1] ?? key;
      draw.alarm(box, i, now > 0 ? `✕ ${reason} ${rate(now)}/s` : `✕ ${reason}, ${rate(count)} so far`);
    }
  }
}

/** Draws into one picture. */
class Pen {
  private readonly root: SVGSVGElement;
  private readonly layout: Layout;
  private readonly tone: string;
  private readonly out: boolean;
  /** Over all lines, so that no line runs through them. */
  private readonly labels = s('g');

  constructor(root: SVGSVGElement, layout: Layout, tone: string, out: boolean) {
    this.root = root;
    this.layout = layout;
    this.tone = tone;
    this.out = out;
  }

  box(b: Box, title: string, lines: readonly string[], kind = ''): void {
    const g = s('g', {}, s('rect', { x: b.x, y: b.y, width: b.w, height: b.h, rx: 6, class: `box ${kind}` }));
    const shown = lines.filter((text) => text !== '');
    const top = b.y + (b.h - shown.length * 15) / 2 + 4;
    const mid = b.x + b.w / 2;
    g.append(s('text', { x: mid, y: top, 'text-anchor': 'middle', class: 'strong' }, title));
    for (const [i, text] of shown.entries())
      g.append(s('text', { x: mid, y: top + 15 * (i + 1), 'text-anchor': 'middle', class: 'quiet' }, text));
    this.root.append(g);
  }

  edge(name: keyof Layout['edges'], flow: Flow | null): void {
    const { lines, label, anchor } = this.layout.edges[name];
    const isOn = flow !== null && flow.fps > 0;
    for (const d of lines) {
      const path = s('path', { d, class: isOn ? 'edge' : 'edge idle' });
      this.root.append(isOn ? paint(path, 'stroke', this.tone) : path);
    }
    const texts = isOn ? [`${flow.gbps.toFixed(2)} Gb/s`, `${rate(flow.fps)}/s`] : ['idle'];
    const what = (this.out ? OUT_LABELS : LABELS)[name];
    const all = [
      { text: what, kind: 'quiet' },
      ...texts.map((text, i) => ({ text, kind: isOn && i === 0 ? 'strong' : 'quiet' })),
    ];
    for (const [i, { text, kind }] of all.entries())
      this.labels.append(
        s('text', { x: label.x, y: label.y + i * 14, 'text-anchor': anchor, class: `label ${kind}` }, text),
      );
  }

  calls(p: PathRates | null): void {
    for (const d of this.layout.calls.lines) this.root.append(s('path', { d, class: 'edge calls' }));
    const { label, anchor } = this.layout.calls;
    const texts = p === null ? [] : [`${rate(p.hypercalls)} hypercalls/s`, `${rate(p.grantOps)} grant ops/s`];
    for (const [i, text] of texts.entries())
      this.root.append(
        s(
          'text',
          {
            x: label.x,
            y: label.y + i * 14,
            'text-anchor': anchor,
            class: `label ${p && p.hypercalls > 0 ? '' : 'quiet'}`,
          },
          text,
        ),
      );
  }

  /** Puts the labels on top. */
  end(): void {
    this.root.append(this.labels);
  }

  alarm(b: Box, row: number, text: string): void {
    const end = b.x + b.w > this.layout.width - 60;
    const x = end ? b.x + b.w : b.x;
    this.labels.append(
      s('text', { x, y: b.y + b.h + 15 + row * 14, 'text-anchor': end ? 'end' : 'start', class: 'label alarm' }, text),
    );
  }
}

const LABELS = {
  cable: 'sent',
  defaultQueue: 'default queue',
  guestQueues: "guests' queues, DMA",
  rings: 'rx rings',
} as const;
/** Where guests send. */
const OUT_LABELS = {
  cable: 'received',
  defaultQueue: 'transmit queue',
  guestQueues: "guests' transmit queues, DMA",
  rings: 'tx rings',
} as const;

function pathTable(p: PathRates | null): void {
  const row = (name: string, flow: Flow | undefined): Cell[] => [
    { text: name },
    flow ? { text: rate(flow.fps), value: flow.fps } : { text: '-' },
    flow ? { text: flow.gbps.toFixed(2), value: flow.gbps } : { text: '-' },
  ];
  const events = (name: string, perSecond: number | undefined): Cell[] => [
    { text: name },
    perSecond === undefined ? { text: '-' } : { text: rate(perSecond), value: perSecond },
    { text: '' },
  ];
  const drops = Object.entries(p?.drops ?? {}).map(([key, count]): Cell[] => [
    { text: `dropped, ${dropName(key)} (${count} since the counters were reset)`, kind: 'bad' },
    { text: rate(p?.dropRates[key] ?? 0), value: p?.dropRates[key] ?? 0, kind: 'bad' },
    { text: '' },
  ]);
  putTable(
    byId<HTMLTableElement>('path-table'),
    'Rates on the path',
    ['hop', 'per second', 'Gb/s'],
    [
      row(p?.out ? 'NIC to cable' : 'cable to NIC', p?.cable),
      row(p?.out ? 'driver domain to NIC, transmit queue' : 'NIC, default queue, to driver domain', p?.defaultQueue),
      row(
        p?.out ? "guests' transmit queues, from guests' pages" : "NIC, guests' queues, into guests' pages",
        p?.guestQueues,
      ),
      row(p?.out ? 'guests to driver domain, tx rings' : 'driver domain to guests, rx rings', p?.rings),
      row('to applications', p?.delivered),
      events('hypercalls', p?.hypercalls),
      events('grant operations', p?.grantOps),
      events('copies', p?.copies),
      events('notifications', p?.notifications),
      events('wake-ups', p?.wakeups),
      ...drops,
    ],
  );
}
