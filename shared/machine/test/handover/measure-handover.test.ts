/** The handover probe: what it says with which cores, and that nothing of it stays. Not how fast anything is. */
import { readdirSync, readFileSync } from 'node:fs';
import t from 'tap';
import { allowedCores } from '@grantline/base';
import { measureHandover } from '../../src/handover/measure-handover.js';

const cores = allowedCores();

t.test('two cores have all figures, and say which they are', { skip: cores.length < 2 && 'one core' }, async (t) => {
  const pair = cores.slice(0, 2).reverse();
  const h = await measureHandover([...pair, 4711]);
  t.same(h.cores, pair, 'the writer first; a third is not looked at');
  for (const figure of [h.aloneGbps, h.handoverGbps, h.roundTripNs, h.wakeUs])
    t.ok(figure !== null && figure > 0 && Number.isFinite(figure), String(figure));
});

t.test('one core has nothing to hand over to: those figures are null', async (t) => {
  for (const given of [cores.slice(0, 1), []]) {
    const h = await measureHandover(given);
    t.same([h.cores, h.handoverGbps, h.roundTripNs], [given, null, null]);
    t.ok(h.aloneGbps > 0 && h.wakeUs > 0);
  }
});

t.test('no thread, no descriptor and no pinning stays behind, also of one that failed', async (t) => {
  const before = { threads: threads(), fds: fds(), cores: allowedCores() };
  await measureHandover(cores.slice(0, 2));
  // More than a machine can have.
  await t.rejects(measureHandover([cores[0], 1023]), /cannot run on core \d+ and 1023/);
  t.same({ threads: threads(), fds: fds(), cores: allowedCores() }, before);
});

const fds = (): number => readdirSync('/proc/self/fd').length;
const threads = (): string[] =>
  readdirSync('/proc/self/task').map((id) => readFileSync(`/proc/self/task/${id}/comm`, 'latin1'));
