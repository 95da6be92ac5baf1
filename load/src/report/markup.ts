/** HTML and SVG text from templates. What is put in is escaped; only what these templates made goes in as it is. So text of a
 *  results file can never become an element, an attribute or a script. */

/** Text that is markup already. There is no way to make one but the templates of this file. */
export interface Markup {
  readonly text: string;
}

class Made implements Markup {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

export type Value = string | number | Markup | readonly Value[] | null | undefined | false;

/** Characters that XML 1.0 forbids, and halves of surrogate pairs. */
const FORBIDDEN =
  // eslint-disable-next-line no-control-regex -- these are what it looks for
  /[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

/** Text as it must stand between tags and in quoted attributes. */
export function escapeText(text: string): string {
  return text.replace(FORBIDDEN, '\ufffd').replace(/[&<>"']/g, (c) => ENTITIES[c]);
}

/** markup`<td>${name}</td>`: strings and numbers are escaped, lists are joined, null, undefined and false are nothing. */
export function markup(strings: TemplateStringsArray, ...values: readonly Value[]): Markup {
  let out = strings[0];
  for (const [i, value] of values.entries()) out += textOf(value) + strings[i + 1];
  return new Made(out);
}

/** A style sheet or another text of our own. Never for text from elsewhere: `<` ends the program. */
export function css(text: string): Markup {
  if (text.includes('<')) throw new Error('a style sheet with "<" in it');
  return new Made(text);
}

function textOf(value: Value): string {
  if (value === null || value === undefined || value === false) return '';
  if (typeof value === 'string') return escapeText(value);
  if (typeof value === 'number') return String(value);
  if (value instanceof Made) return value.text;
  if (Array.isArray(value)) return value.map(textOf).join('');
  throw new Error('not made by a template');
}
