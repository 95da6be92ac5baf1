import fc from 'fast-check';
import t from 'tap';
import type { DomId } from '@grantline/base';
import { XenStore, type StoreOp } from '../../src/control/xenstore.js';

/** The model: a flat map from path to value and owner; slow and obvious. Domain 1 owns /a, domain 2 owns /b; each may
 *  read all. */
class Model {
  nodes = new Map<string, { value: string; owner: number }>();

  constructor() {
    for (const [path, owner] of [
      ['/a', 1],
      ['/b', 2],
    ] as const)
      this.nodes.set(path, { value: '', owner });
  }

  apply(who: number, ops: readonly StoreOp[]): boolean {
    const saved = new Map([...this.nodes].map(([k, v]) => [k, { ...v }]));
    const ok = ops.every((op) => this.one(who, op));
    if (!ok) this.nodes = saved;
    return ok;
  }

  private owner(path: string): number {
    for (let at = path; at !== ''; at = at.slice(0, at.lastIndexOf('/'))) {
      const node = this.nodes.get(at);
      if (node) return node.owner;
    }
    return 0;
  }

  private one(who: number, { op, path, value }: StoreOp): boolean {
    const allowed = (owner: number): boolean => who === 0 || who === owner;
    if (op === 'rm') {
      const parent = path.slice(0, path.lastIndexOf('/'));
      if (!this.nodes.has(path)) return (parent === '' || this.nodes.has(parent)) && allowed(this.owner(parent));
      const gone = [...this.nodes.keys()].filter((p) => p === path || p.startsWith(`${path}/`));
      if (!gone.every((p) => allowed(this.nodes.get(p)!.owner))) return false;
      for (const p of gone) this.nodes.delete(p);
      return true;
    }
    if (!allowed(this.owner(path))) return false;
    const existing = this.nodes.get(path);
    if (existing) {
      if (op === 'write') existing.value = value ?? '';
      return true;
    }
    for (let i = path.indexOf('/', 1); i > 0; i = path.indexOf('/', i + 1))
      if (!this.nodes.has(path.slice(0, i))) this.nodes.set(path.slice(0, i), { value: '', owner: who });
    this.nodes.set(path, { value: op === 'write' ? (value ?? '') : '', owner: who });
    return true;
  }
}

const path = fc
  .array(fc.constantFrom('a', 'b', 'c'), { minLength: 1, maxLength: 4 })
  .map((names) => `/${names.join('/')}`);
const op: fc.Arbitrary<StoreOp> = fc.record({
  op: fc.constantFrom('write' as const, 'rm' as const, 'mkdir' as const),
  path,
  value: fc.constantFrom('', '1', '2'),
});
const step = fc.record({ who: fc.constantFrom(0, 1, 2), ops: fc.array(op, { minLength: 1, maxLength: 5 }) });

function contents(s: XenStore): Map<string, { value: string; owner: number }> {
  const out = new Map<string, { value: string; owner: number }>();
  const walk = (tree: NonNullable<ReturnType<XenStore['subtree']>>, at: string): void => {
    for (const [name, child] of Object.entries(tree.children ?? {})) {
      out.set(`${at}/${name}`, { value: child.value, owner: child.owner });
      walk(child, `${at}/${name}`);
    }
  };
  walk(s.subtree('/')!, '');
  return out;
}

t.test('after any transactions the tree is what the model says, values, owners and quotas', (t) => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30, size: 'max' }), (steps) => {
      const s = new XenStore();
      s.own('/a', 1 as DomId, 'all');
      s.own('/b', 2 as DomId, 'all');
      const model = new Model();
      for (const { who, ops } of steps) {
        let ok = true;
        try {
          s.transaction(who as DomId, ops);
        } catch {
          ok = false;
        }
        const before = JSON.stringify([...model.nodes]);
        if (ok !== model.apply(who, ops))
          throw new Error(`accepted ${ok}, model not: ${JSON.stringify(ops)} on ${before}`);
        if (JSON.stringify([...contents(s)].sort()) !== JSON.stringify([...model.nodes].sort()))
          throw new Error('the trees differ');
        for (const d of [1, 2])
          if (s.nodesOwnedBy(d as DomId) !== [...model.nodes.values()].filter((n) => n.owner === d).length)
            throw new Error(`the count of nodes of domain ${d} is off`);
      }
    }),
    { numRuns: 150 },
  );
  t.end();
});

t.test('every watcher hears of every change at or below its path, and of nothing when a transaction fails', (t) => {
  fc.assert(
    fc.property(
      fc.array(path, { minLength: 1, maxLength: 4 }),
      fc.array(step, { maxLength: 15, size: 'max' }),
      (watched, steps) => {
        const s = new XenStore();
        s.own('/a', 1 as DomId, 'all');
        s.own('/b', 2 as DomId, 'all');
        watched.forEach((p, i) => s.watch(0 as DomId, p, `w${i}`));
        s.watches.take();
        for (const { who, ops } of steps) {
          const before = contents(s);
          try {
            s.transaction(who as DomId, ops);
          } catch {
            if (s.watches.take().length !== 0) throw new Error('a failed transaction fired');
            continue;
          }
          const after = contents(s);
          const changed = [...new Set([...before.keys(), ...after.keys()])].filter(
            (p) => before.get(p)?.value !== after.get(p)?.value,
          );
          const heard = new Set(s.watches.take().map((e) => e.token));
          watched.forEach((p, i) => {
            const must = changed.some((c) => c === p || c.startsWith(`${p}/`));
            if (must && !heard.has(`w${i}`))
              throw new Error(`the watch on ${p} missed a change of ${changed.join(' ')}`);
          });
        }
      },
    ),
    { numRuns: 150 },
  );
  t.end();
});
