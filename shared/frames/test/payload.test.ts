import t from 'tap';
import { FlowTracker, TRACK_WINDOW } from '../src/payload.js';

t.test('a tracker tells repeat from late across the wrap and to the end of its window, and no further', (t) => {
  for (const start of [0, 0xfffff000, 0xffffffff, 0x7fffffff]) {
    const flows = new FlowTracker();
    flows.reset(start);
    const at = (n: number): number => (start + n) >>> 0;
    flows.take(5, at(TRACK_WINDOW));
    t.equal(flows.missing, TRACK_WINDOW);
    flows.take(5, at(1));
    flows.take(5, at(2000));
    t.same([flows.missing, flows.reordered, flows.duplicate], [TRACK_WINDOW - 2, 2, 0]);
    flows.take(5, at(1));
    flows.take(5, at(TRACK_WINDOW));
    t.same([flows.reordered, flows.duplicate], [2, 2]);
    flows.take(5, at(0));
    flows.take(5, at(-1));
    t.same([flows.reordered, flows.duplicate], [2, 4], 'too late to tell, and before the first');
    flows.take(5, at(3 * TRACK_WINDOW));
    flows.take(5, at(2 * TRACK_WINDOW + 1));
    t.equal(flows.reordered, 3, 'a jump over the whole window leaves no old marks');
  }
  t.end();
});

t.test('before the first sequence nothing is due', (t) => {
  const flows = new FlowTracker();
  flows.reset(10);
  flows.take(1, 9);
  flows.take(1, 10);
  t.same([flows.missing, flows.reordered, flows.duplicate], [0, 0, 1]);
  t.end();
});
