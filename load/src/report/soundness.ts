/** The tables that say whether the counts can be trusted: loss, conservation, CPU accounting. Pure. */
import { loss, percent, whole } from '../base/format.js';
import type { Group, Model } from './model.js';
import { spreadOf } from '../base/stats.js';
import { figures, words, type DataTable } from './tables.js';

/** Sums over all runs: nothing that was lost once is to be hidden by a median. */
export function lossTable(m: Model): DataTable {
  return {
    caption: 'Frames, over all runs, warm-up and drain included',
    columns: [
      words('configuration'),
      ...figures('guests', 'sent', 'lost', 'loss', 'duplicate', 'reordered', 'corrupt'),
      words('drops by reason'),
    ],
    rows: m.groups.map((g) => {
      const sum = (of: (r: Group['runs'][number]) => number): number => g.runs.reduce((n, r) => n + of(r), 0);
      const drops = new Map<string, number>();
      for (const r of g.runs)
        for (const [reason, n] of Object.entries(r.drops)) drops.set(reason, (drops.get(reason) ?? 0) + n);
      const sent = sum((r) => r.sent);
      const lost = sum((r) => r.lost);
      return [
        g.config,
        String(g.guests),
        whole(sent),
        whole(lost),
        loss(lost, sent),
        whole(sum((r) => r.duplicate)),
        whole(sum((r) => r.reordered)),
        whole(sum((r) => r.corrupt)),
        drops.size === 0 ? 'none' : [...drops].map(([reason, n]) => `${reason} ${whole(n)}`).join(', '),
      ];
    }),
  };
}

export function trustTable(m: Model): DataTable {
  return {
    caption: 'Do the counts add up?',
    columns: [
      words('configuration'),
      ...figures('guests'),
      words('frames in = out + drops + in flight'),
      ...figures('CPU parts of the process, lowest', 'highest'),
      words('within 5 %'),
    ],
    rows: m.groups.map((g) => {
      const violated = g.runs.flatMap((r) => (r.conservation === 'ok' ? [] : r.conservation));
      const shares = g.runs.flatMap((r) => Object.values(r.cpuAccounted).filter((x) => x !== null));
      return [
        g.config,
        String(g.guests),
        violated.length === 0
          ? `exactly, in ${g.runs.length} of ${g.runs.length} runs`
          : `VIOLATED: ${violated.join('; ')}`,
        shares.length === 0 ? '-' : percent(spreadOf(shares).min),
        shares.length === 0 ? '-' : percent(spreadOf(shares).max),
        g.runs.every((r) => r.cpuAccountedOk) ? 'yes' : 'NO',
      ];
    }),
  };
}
