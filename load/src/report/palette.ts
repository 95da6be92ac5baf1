/** Colours of configurations and CPU components, the same in reports and on the live page.
 *
 *  Chosen so that any two that can stand side by side differ in lightness or hue for people with protanopia,
 *  deuteranopia and tritanopia as well, and so that configurations reach a contrast of 3 to 1 with the background; the
 *  tests hold them to it. No reader depends on them alone: everything that is coloured is labelled too. */
import type { ConfigurationName } from '@grantline/base';

/** A colour on a light and on a dark background, as #rrggbb. */
export interface Tone {
  light: string;
  dark: string;
}

const tone = (light: string, dark: string): Tone => ({ light, dark });

/** Backgrounds on which the tones are to be seen. */
export const SURFACE = tone('#ffffff', '#15181c');
export const TEXT = tone('#1b1f24', '#e6e9ed');
/** Labels of axes, captions. */
export const MUTED = tone('#59626e', '#9aa4b0');
/** Axes and grid. */
export const RULE = tone('#d8dce2', '#343b44');
/** Marks of the paper, line rate. */
export const MARK = tone('#1b1f24', '#e6e9ed');
/** Drops and everything that is wrong. */
export const ALARM = tone('#b3261e', '#ff8a80');

export type ConfigKey = ConfigurationName | 'custom';

export const CONFIG_TONES: Readonly<Record<ConfigKey, Tone>> = {
  baseline: tone('#8c440c', '#cf6838'),
  multiqueue: tone('#b78c00', '#fec348'),
  'grant-reuse': tone('#086248', '#03bec3'),
  optimised: tone('#1171f3', '#2280fb'),
  direct: tone('#832492', '#9a5fb7'),
  native: tone('#8c94a2', '#777777'),
  custom: tone('#14181d', '#f0f8f8'),
};

/** Components of CPU time: what the counters call them (docs/measuring.md). */
export const COMPONENT_TONES = {
  driver: tone('#a1912f', '#bb8e29'),
  bridge: tone('#f0bb41', '#f3cb2b'),
  netback: tone('#96370e', '#be5647'),
  grantCalls: tone('#c56c65', '#f0a073'),
  hypercalls: tone('#8541a1', '#8146b6'),
  transport: tone('#cda0f2', '#ec93f0'),
  netfront: tone('#30956a', '#1d8f63'),
  stack: tone('#6cb9ef', '#96c4f7'),
  application: tone('#145da7', '#5168a2'),
  generator: tone('#406933', '#268235'),
  nic: tone('#a9aa44', '#afb13a'),
  control: tone('#505050', '#c4c7c8'),
  wakeup: tone('#818d99', '#788590'),
  runtime: tone('#cccccc', '#474747'),
} as const satisfies Record<string, Tone>;

export type ComponentKey = keyof typeof COMPONENT_TONES;

/** Names of components for people. */
export const COMPONENT_LABELS: Readonly<Record<ComponentKey, string>> = {
  driver: 'NIC driver',
  bridge: 'bridge',
  netback: 'netback',
  grantCalls: 'grant calls',
  hypercalls: 'hypercalls',
  transport: 'hypercall messages',
  netfront: 'netfront',
  stack: 'stack',
  application: 'application',
  generator: 'generator',
  nic: 'NIC',
  control: 'event loop',
  wakeup: 'sleep and wake',
  runtime: 'runtime (GC, compiler)',
};

/** Order in which a bar stacks its components: work first, in the order of the path, then what surrounds it. */
export const COMPONENT_ORDER = Object.keys(COMPONENT_TONES) as ComponentKey[];

/** @returns the key under which a configuration of this name is coloured: unknown ones are `custom` */
export function configKey(name: string): ConfigKey {
  return Object.hasOwn(CONFIG_TONES, name) ? (name as ConfigKey) : 'custom';
}

/** @returns whether a component of this name has a colour; `idle` has none, it is no frame's cost */
export function isComponent(name: string): name is ComponentKey {
  return Object.hasOwn(COMPONENT_TONES, name);
}

const ALL: Readonly<Record<string, Tone>> = {
  surface: SURFACE,
  text: TEXT,
  muted: MUTED,
  rule: RULE,
  mark: MARK,
  alarm: ALARM,
  ...Object.fromEntries(Object.entries(CONFIG_TONES).map(([name, tone]) => [`config-${name}`, tone])),
  ...Object.fromEntries(Object.entries(COMPONENT_TONES).map(([name, tone]) => [`cpu-${name}`, tone])),
};

/** The palette as custom properties, for the live page: light, dark where the system is, and either where the user chose it (data-theme). */
export function paletteCss(): string {
  const list = (theme: keyof Tone): string =>
    Object.entries(ALL)
      .map(([name, tone]) => `  --${name}: ${tone[theme]};\n`)
      .join('');
  return [
    `:root {\n  color-scheme: light;\n${list('light')}}\n`,
    `@media (prefers-color-scheme: dark) {\n:root:not([data-theme='light']) {\n  color-scheme: dark;\n${list('dark')}}\n}\n`,
    `:root[data-theme='dark'] {\n  color-scheme: dark;\n${list('dark')}}\n`,
  ].join('');
}
