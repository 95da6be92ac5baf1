import t from 'tap';
import { setImmediate as turn } from 'node:timers/promises';
import { type DomId, parseSession, SESSION_PATH } from '@grantline/base';
import { SessionFollower } from '../src/session-follower.js';

/** A follower, and the store that tells it. */
async function world() {
  let value: string | null = null;
  let fire: (path: string) => void = () => {};
  const acks: string[] = [];
  const warned: string[] = [];
  const did: string[] = [];
  const store = {
    read: () => Promise.resolve(value),
    write: (path: string, text: string | number) => Promise.resolve(void acks.push(`${path}=${text}`)),
    watch: (_path: string, fn: (path: string) => void) => {
      fire = fn;
      fn(SESSION_PATH);
      return Promise.resolve(() => Promise.resolve());
    },
  };
  const follower = new SessionFollower(
    store,
    3 as DomId,
    { warn: (_o: unknown, text: string) => void warned.push(text) } as never,
  );
  for (const name of ['a', 'b'])
    follower.keep(() => {
      did.push(`keep ${name}`);
      return {
        ending: () => void did.push(`ending ${name}`),
        over: () => void did.push(`over ${name}`),
      };
    });
  await follower.begin();
  return {
    follower,
    acks,
    warned,
    did,
    say: async (text: string | null) => {
      value = text;
      fire(SESSION_PATH);
      for (let i = 0; i < 10; i++) await turn();
      return did.splice(0);
    },
  };
}

t.test('what was found is put back in reverse: first all ends, then what was stopped goes on', async (t) => {
  const w = await world();
  t.same(await w.say(null), []);
  t.same(await w.say('1 open'), ['keep a', 'keep b']);
  t.same(await w.say('1 open'), [], 'told twice');
  t.same(await w.say('1 ending'), ['ending b', 'ending a']);
  t.same(await w.say('1 over'), ['over b', 'over a']);
  t.same(w.acks.slice(0, 1), ['/local/domain/3/data/session=1 open']);
  t.equal(w.acks.at(-1), '/local/domain/3/data/session=1 over');
});

t.test('a session whose end was not seen is put back before the next is looked at', async (t) => {
  const w = await world();
  await w.say('1 open');
  t.same(await w.say('2 open'), ['ending b', 'ending a', 'over b', 'over a', 'keep a', 'keep b']);
  t.same(await w.say('2 over'), ['ending b', 'ending a', 'over b', 'over a'], 'a stage was not seen');
  t.same(await w.say('3 ending'), [], 'one that began before this domain');
  t.same(await w.say('3 over'), []);
});

t.test('one step that fails does not keep the others', async (t) => {
  const w = await world();
  w.follower.keep(() => ({
    ending: () => Promise.reject(new Error('no')),
    over: () => {
      throw new Error('no');
    },
  }));
  await w.say('1 open');
  t.same(await w.say('1 ending'), ['ending b', 'ending a']);
  t.same(await w.say('1 over'), ['over b', 'over a']);
  t.equal(w.warned.length, 2);
  t.equal(w.acks.at(-1), '/local/domain/3/data/session=1 over');
});

t.test('only a session is taken for one', (t) => {
  t.same(parseSession('12 ending'), { id: 12, stage: 'ending' });
  for (const text of [null, '', '1', '1 shut', 'x open', '-1 open', '1  open', '1234567890 open', '1 open\n'])
    t.equal(parseSession(text), null, String(text));
  t.end();
});
