/** Light or dark: as the system has it, or as the user chose. */
import { byId } from './dom.js';

const KEY = 'grantline-theme';

/** @param changed called when colours are different from now on: what is drawn on a canvas has to be drawn again */
export function startTheme(changed: () => void): void {
  const select = byId<HTMLSelectElement>('theme');
  const apply = (theme: string): void => {
    if (theme === 'light' || theme === 'dark') document.documentElement.dataset['theme'] = theme;
    else delete document.documentElement.dataset['theme'];
    changed();
  };
  select.value = remembered();
  apply(select.value);
  select.addEventListener('change', () => {
    try {
      localStorage.setItem(KEY, select.value);
    } catch {
      // Storage is switched off: the choice lasts as long as the page.
    }
    apply(select.value);
  });
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', changed);
}

function remembered(): string {
  try {
    const theme = localStorage.getItem(KEY);
    return theme === 'light' || theme === 'dark' ? theme : 'system';
  } catch {
    return 'system';
  }
}

/** Value of a custom property now. */
export const colour = (name: string): string =>
  getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

/** Black or white, whichever is read better on a #rrggbb. */
export function inkOn(hex: string): string {
  const part = (at: number): number => {
    const c = Number.parseInt(hex.slice(at, at + 2), 16) / 255;
    return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  };
  const luminance = 0.2126 * part(1) + 0.7152 * part(3) + 0.0722 * part(5);
  return luminance > 0.179 ? '#000' : '#fff';
}
