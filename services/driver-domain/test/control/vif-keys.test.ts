import t from 'tap';
import { readFrontKeys } from '../../src/control/vif-keys.js';

const from =
  (keys: Record<string, string>) =>
  (key: string): Promise<string | null> =>
    Promise.resolve(keys[key] ?? null);
const ONE = { 'request-rx-copy': '1', 'tx-ring-ref': '8', 'rx-ring-ref': '9', 'event-channel': '3' };
const TWO = {
  'request-rx-copy': '1',
  'multi-queue-num-queues': '2',
  'queue-0/tx-ring-ref': '8',
  'queue-0/rx-ring-ref': '9',
  'queue-0/event-channel': '3',
  'queue-1/tx-ring-ref': '10',
  'queue-1/rx-ring-ref': '11',
  'queue-1/event-channel': '4',
};

t.test('keys of one queue stand flat, of two under queue-N', async (t) => {
  t.same((await readFrontKeys(from(ONE), 1)).queues, [{ tx: 8, rx: 9, port: 3 }]);
  t.same((await readFrontKeys(from({ ...TWO, 'feature-rx-offset': '1' }), 2)).queues[1], { tx: 10, rx: 11, port: 4 });
});

t.test('garbage, negative, huge and doubled ring references and ports are refused (H33)', async (t) => {
  for (const bad of ['', 'x', '-1', '7', '2048', '99999999999', '1e3'])
    await t.rejects(readFrontKeys(from({ ...ONE, 'rx-ring-ref': bad }), 1), /rx-ring-ref/);
  await t.rejects(readFrontKeys(from({ ...ONE, 'rx-ring-ref': '8' }), 1), /used twice/);
  for (const bad of ['0', '1024', '-3', 'port'])
    await t.rejects(readFrontKeys(from({ ...ONE, 'event-channel': bad }), 1), /event-channel/);
  await t.rejects(readFrontKeys(from({ ...ONE, 'ctrl-ring-ref': '9', 'event-channel-ctrl': '5' }), 1), /used twice/);
  const sameRing = from({ ...ONE, 'ctrl-ring-ref': '12', 'event-channel-ctrl': '3' });
  await t.rejects(readFrontKeys(sameRing, 1), /event-channel-ctrl 3 .* used twice/);
  await t.rejects(readFrontKeys(from({ ...TWO, 'queue-1/event-channel': '3' }), 2), /event-channel 3 .* used twice/);
});

t.test('a wrong number of queues, or a queue without keys, refuses all (H34)', async (t) => {
  for (const n of ['0', '3', '4000000000', 'two'])
    await t.rejects(readFrontKeys(from({ ...TWO, 'multi-queue-num-queues': n }), 2), /multi-queue-num-queues/);
  await t.rejects(readFrontKeys(from(ONE), 2), /has 2/);
  const rest: Record<string, string> = { ...TWO };
  delete rest['queue-1/rx-ring-ref'];
  await t.rejects(readFrontKeys(from(rest), 2), /queue-1\/rx-ring-ref is missing/);
});

t.test('a frontend that wants page flipping is refused', async (t) => {
  await t.rejects(readFrontKeys(from({ ...ONE, 'request-rx-copy': '0' }), 1), /request-rx-copy/);
});
