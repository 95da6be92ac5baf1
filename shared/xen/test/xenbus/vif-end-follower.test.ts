import t from 'tap';
import { Follower } from '../../src/xenbus/vif-end.js';

const turn = (): Promise<void> => new Promise((r) => setImmediate(r));

t.test('a look is never lost, however soon after a step it comes', async (t) => {
  for (let depth = 0; depth < 20; depth++) {
    let asked = false;
    let seen = false;
    const follower: Follower = new Follower({
      step: () => {
        if (asked) seen = true;
        return Promise.resolve();
      },
      failed: () => t.fail(),
    });
    void follower.look();
    let later = Promise.resolve();
    for (let i = 0; i < depth; i++) later = later.then(() => undefined);
    void later.then(() => {
      asked = true;
      void follower.look();
    });
    await turn();
    t.ok(seen, `${depth} microtasks later`);
  }
});

t.test('steps run one at a time, and what changes during one is looked at after it', async (t) => {
  let inside = 0;
  let steps = 0;
  const follower: Follower = new Follower({
    step: async () => {
      t.equal(++inside, 1);
      if (++steps === 1) void follower.look();
      await turn();
      inside--;
    },
    failed: () => t.fail(),
  });
  void follower.look();
  void follower.look();
  await follower.look();
  t.equal(steps, 2);
});

t.test('a step that fails is tried again; the same failure is told once; after the end nothing runs', async (t) => {
  let left = 3;
  const told: unknown[] = [];
  let pauses = 0;
  const follower = new Follower({
    step: () => (left-- > 0 ? Promise.reject(new Error('refused')) : Promise.resolve()),
    failed: (err) => told.push(err),
    pause: () => Promise.resolve(void pauses++),
  });
  await follower.look();
  t.equal(left, -1);
  t.equal(pauses, 3);
  t.equal(told.length, 1);
  await follower.end();
  await follower.look();
  t.equal(left, -1);
});
