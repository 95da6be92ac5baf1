/** Asking by HTTP: what a server that closes connections when it likes can do to who asks. */
import t from 'tap';
import { createServer, type AddressInfo, type Server } from 'node:net';
import { call } from '../../src/base/http.js';

/** Answers the first request on each connection, and hangs up at the second. */
async function closesWhenUsedAgain(answers: number): Promise<{ server: Server; base: string; seen: string[] }> {
  const seen: string[] = [];
  let left = answers;
  const server = createServer((socket) => {
    let first = true;
    socket.on('error', () => {});
    socket.on('data', (data) => {
      seen.push(data.toString().split(' ')[0]);
      if (first && left-- > 0)
        socket.write('HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-type: application/json\r\n\r\n{}');
      else socket.destroy();
      first = false;
    });
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  return { server, base: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, seen };
}

t.test('a GET on a connection that was closed while it was idle is asked again, once', async (t) => {
  const { server, base, seen } = await closesWhenUsedAgain(2);
  t.teardown(() => server.close());
  await call('it', base, '/a');
  t.same(await call('it', base, '/b'), {}, 'answered on a new connection');
  t.same(seen, ['GET', 'GET', 'GET']);
  await t.rejects(call('it', base, '/c'), { message: /it did not answer GET \/c/ }, 'no answer the second time either');
  t.equal(seen.length, 5, 'asked twice and not for ever');
});

t.test('what changes something is asked once', async (t) => {
  const { server, base, seen } = await closesWhenUsedAgain(1);
  t.teardown(() => server.close());
  await call('it', base, '/a');
  await t.rejects(call('it', base, '/b', { method: 'POST', body: {} }), { message: /it did not answer POST/ });
  t.same(seen, ['GET', 'POST']);
});
