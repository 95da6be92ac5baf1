import t from 'tap';
import { CONFIGURATIONS } from '@grantline/base';
import { COMPONENT_TONES, CONFIG_TONES, configKey, MUTED, SURFACE, TEXT, type Tone } from '../../src/report/palette.js';

type Rgb = readonly [number, number, number];

/** sRGB to linear light. */
const linear = (hex: string): Rgb =>
  [1, 3, 5].map((i) => {
    const c = Number.parseInt(hex.slice(i, i + 2), 16) / 255;
    return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  }) as unknown as Rgb;

const dot3 = (row: Rgb, v: Rgb): number => row[0] * v[0] + row[1] * v[1] + row[2] * v[2];

/** WCAG 2 contrast. */
function contrast(a: string, b: string): number {
  const [y1, y2] = [a, b].map((c) => dot3([0.2126, 0.7152, 0.0722], linear(c))).sort((x, y) => y - x);
  return (y1 + 0.05) / (y2 + 0.05);
}

/** Colour vision without long, middle and short wave cones: Machado, Oliveira, Fernandes 2009, severity 1. */
const VISION: Readonly<Record<string, readonly [Rgb, Rgb, Rgb]>> = {
  normal: [
    [1, 0, 0],
    [0, 1, 0],
    [0, 0, 1],
  ],
  protanopia: [
    [0.152286, 1.052583, -0.204868],
    [0.114503, 0.786281, 0.099216],
    [-0.003882, -0.048116, 1.051998],
  ],
  deuteranopia: [
    [0.367322, 0.860646, -0.227968],
    [0.280085, 0.672501, 0.047413],
    [-0.01182, 0.04294, 0.968881],
  ],
  tritanopia: [
    [1.255528, -0.076749, -0.178779],
    [-0.078411, 0.930809, 0.147602],
    [0.004733, 0.691367, 0.3039],
  ],
};

/** CIE L*a*b*, D65. */
function lab(rgb: Rgb): Rgb {
  const f = (v: number): number => (v > 0.008856 ? Math.cbrt(v) : 7.787 * v + 16 / 116);
  const x = f(dot3([0.4124, 0.3576, 0.1805], rgb) / 0.9505);
  const y = f(dot3([0.2126, 0.7152, 0.0722], rgb));
  const z = f(dot3([0.0193, 0.1192, 0.9505], rgb) / 1.089);
  return [116 * y - 16, 500 * (x - y), 200 * (y - z)];
}

function distance(a: string, b: string, vision: string): number {
  const seen = (hex: string): Rgb =>
    lab(VISION[vision].map((row) => Math.min(1, Math.max(0, dot3(row, linear(hex))))) as unknown as Rgb);
  const [p, q] = [seen(a), seen(b)];
  return Math.hypot(p[0] - q[0], p[1] - q[1], p[2] - q[2]);
}

/** A just noticeable difference is about 2.3; side by side in a figure takes far more. */
const APART = 15;

function closest(tones: readonly Tone[]): number {
  let least = Infinity;
  for (const theme of ['light', 'dark'] as const)
    for (const vision of Object.keys(VISION))
      for (const [i, a] of tones.entries())
        for (const b of tones.slice(i + 1)) least = Math.min(least, distance(a[theme], b[theme], vision));
  return least;
}

t.test('configurations stand out from the background, and from each other for every kind of colour vision', (t) => {
  for (const theme of ['light', 'dark'] as const) {
    for (const [name, tone] of Object.entries(CONFIG_TONES))
      t.ok(contrast(tone[theme], SURFACE[theme]) >= 3, `${name}, ${theme}`);
    for (const tone of [TEXT, MUTED]) t.ok(contrast(tone[theme], SURFACE[theme]) >= 4.5, `text, ${theme}`);
  }
  const least = closest(Object.values(CONFIG_TONES));
  t.ok(least > APART, `${least}`);
  t.same(Object.keys(CONFIG_TONES), [...Object.keys(CONFIGURATIONS), 'custom'], 'one for each configuration');
  t.equal(configKey('toString'), 'custom');
  t.end();
});

t.test('components that can stand in one bar differ for every kind of colour vision', (t) => {
  const c = COMPONENT_TONES;
  const around = [c.control, c.wakeup, c.runtime];
  for (const bar of [
    [c.driver, c.bridge, c.netback, c.grantCalls, c.stack, c.application, ...around],
    [c.hypercalls, c.transport, ...around],
    [c.driver, c.netfront, c.stack, c.application, ...around],
    [c.generator, c.nic, ...around],
  ]) {
    const least = closest(bar);
    t.ok(least > APART, `${least}`);
  }
  t.end();
});
