/** A part of a report: sentences, a figure and tables. */
import type { Plot } from './svg.js';
import type { DataTable } from './tables.js';

export interface Section {
  /** For links within the page. */
  id: string;
  title: string;
  /** A paragraph each; before the figure. */
  lines: readonly string[];
  figure: { plot: Plot; caption: string } | null;
  tables: readonly DataTable[];
}
