/** Making and changing elements. Text goes in as text only: nothing that a run's name holds becomes markup. */

type Attributes = Readonly<Record<string, string | number | undefined>>;
type Child = Node | string;

function fill<T extends Element>(node: T, attributes: Attributes, children: readonly Child[]): T {
  for (const [name, value] of Object.entries(attributes))
    if (value !== undefined) node.setAttribute(name, String(value));
  node.append(...children);
  return node;
}

/** An HTML element. */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  return fill(document.createElement(tag), attributes, children);
}

/** An SVG element. */
export function s<K extends keyof SVGElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: Child[]
): SVGElementTagNameMap[K] {
  return fill(document.createElementNS('http://www.w3.org/2000/svg', tag), attributes, children);
}

/** The element of that id. @throws Error when the page has none: a fault of ours */
export function byId<T extends HTMLElement = HTMLElement>(id: string): T {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no #${id}`);
  return found as T;
}

/** Sets the text where it differs: a screen reader is not told what has not changed. */
export function setText(node: Element, text: string): void {
  if (node.textContent !== text) node.textContent = text;
}

/** Colours a shape by a custom property: through the object model, which the page's strict policy allows. */
export function paint<T extends SVGElement>(shape: T, what: 'fill' | 'stroke', variable: string): T {
  shape.style[what] = `var(--${variable})`;
  return shape;
}

export interface Cell {
  text: string;
  /** Full value of a rounded figure: stands in data-value, and as a tooltip. */
  value?: number;
  /** "bad", "text". */
  kind?: string;
  /** Custom property of a colour to show before the text. */
  swatch?: string;
}

/** Puts a table's content: the first cell of each row is its heading. */
export function putTable(
  table: HTMLTableElement,
  caption: string,
  head: readonly string[],
  rows: readonly Cell[][],
): void {
  const cell = (c: Cell, first: boolean): HTMLElement => {
    const node = h(first ? 'th' : 'td', {
      scope: first ? 'row' : undefined,
      class: c.kind,
      'data-value': c.value,
      title: c.value === undefined ? undefined : String(c.value),
    });
    if (c.swatch !== undefined) {
      const mark = h('span', { class: 'swatch' });
      mark.style.background = `var(--${c.swatch})`;
      node.append(mark);
    }
    node.append(c.text);
    return node;
  };
  table.replaceChildren(
    h('caption', { class: 'hidden' }, caption),
    h(
      'thead',
      {},
      h(
        'tr',
        {},
        ...head.map((text, i) =>
          h('th', { scope: 'col', class: rows[0]?.[i]?.kind?.startsWith('text') ? 'text' : undefined }, text),
        ),
      ),
    ),
    h('tbody', {}, ...rows.map((row) => h('tr', {}, ...row.map((c, i) => cell(c, i === 0))))),
  );
}
