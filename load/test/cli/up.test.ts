import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import t from 'tap';
import { watchReadiness } from '../../src/cli/up.js';

t.test('a service that loses what it stands on is told once with its reason, and so is that it is back', async (t) => {
  let status = 'ready';
  let asked = 0;
  const server = createServer((_request, response) => {
    asked++;
    response.writeHead(status === 'ready' ? 200 : 503, { 'content-type': 'application/json' });
    response.end(JSON.stringify({ status }));
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  t.teardown(() => server.close());
  const http = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const lines: string[] = [];
  const end = new AbortController();
  const over = watchReadiness([{ name: 'nic', http }], (line) => lines.push(line), end.signal, 1);
  const rounds = async (count: number): Promise<void> => {
    for (const until = asked + count; asked < until;) await new Promise((done) => setTimeout(done, 1));
  };
  await rounds(3);
  t.same(lines, []);
  status = 'not ready: the TAP device gl0 is gone\u001b[2J';
  await rounds(4);
  // What has no reason is a service that begins, or changes its configuration.
  t.equal(lines.length, 1);
  t.match(lines[0], /^nic is not ready: the TAP device gl0 is gone/);
  t.notMatch(lines[0], '\u001b');
  status = 'ready';
  await rounds(4);
  t.same(lines.slice(1), ['nic is ready again']);
  status = 'not ready';
  await rounds(4);
  t.equal(lines.length, 2);
  end.abort();
  await over;
});
