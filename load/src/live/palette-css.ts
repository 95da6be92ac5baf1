/** The palette of the reports as custom properties, so that the live page has the same colours. Pure. */
import {
  ALARM,
  COMPONENT_TONES,
  CONFIG_TONES,
  MARK,
  MUTED,
  RULE,
  SURFACE,
  TEXT,
  type Tone,
} from '../report/palette.js';

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

/** A style sheet: light, dark where the system is, and either where the user chose it (data-theme). */
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
