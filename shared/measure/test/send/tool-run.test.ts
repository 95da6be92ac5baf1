import t from 'tap';
import { flowsOfSender, parseSend, sendRun } from '../../src/send/tool-run.js';

t.test('what a run has guests send is read strictly', (t) => {
  const run = {
    ...{ direction: 'tx', seed: 3, frameSizes: [60, 1514], protocol: 'auto', flows: 2 },
    ...{ to: { mac: '02:00:00:ca:b1:e0', ip: '10.0.0.9' }, order: [0, 1, 1] },
  };
  const part = parseSend(JSON.stringify(run))!;
  t.same(
    flowsOfSender(part, 3, { mac: 'm', ip: 'i' }).map((f) => [f.flowId, f.srcPort, f.srcMac]),
    [
      [6, 10000, 'm'],
      [7, 10001, 'm'],
    ],
  );
  t.same([...sendRun(part, []).order!], [0, 1, 1]);
  const wrong = [
    { direction: 'rx' },
    { seed: 'x' },
    { frameSizes: [] },
    { protocol: 'sctp' },
    { flows: 0 },
    { flows: 1.5 },
    { to: null },
    { to: { mac: 1, ip: 2 } },
    { order: [2] },
  ];
  for (const w of wrong) t.equal(parseSend(JSON.stringify({ ...run, ...w })), null, JSON.stringify(w));
  for (const text of [null, '', '{', '1', 'null']) t.equal(parseSend(text), null);
  t.end();
});
