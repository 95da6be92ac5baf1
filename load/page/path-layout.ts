/** Where things stand in the picture of the path, in pixels: side by side where there is room, else one below the other. Pure. */

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

export interface Edge {
  /** SVG paths. */
  lines: string[];
  /** First line of its text. */
  label: Spot;
  anchor: 'start' | 'middle';
}

export interface Layout {
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
