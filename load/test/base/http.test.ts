/** Asking by HTTP: what a server that closes connections when it likes can do to who asks. */
import t, { type Test } from 'tap';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { setImmediate as turn } from 'node:timers/promises';
import { call } from '../../src/base/http.js';

const ANSWER = 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-type: application/json\r\n\r\n{}';

/** @param request what is done at the nth request of a connection @returns the server's address */
async function serve(t: Test, request: (socket: Socket, nth: number, line: string) => void): Promise<string> {
  const sockets: Socket[] = [];
  const server = createServer((socket) => {
    sockets.push(socket);
    let nth = 0;
    socket.on('error', () => {});
    socket.on('data', (data) => request(socket, nth++, data.toString().split('\r\n')[0]));
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  t.teardown(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

t.test('a GET on a connection that is closed as it is used again is asked again', async (t) => {
  let closed = 0;
  const base = await serve(t, (socket, nth) => {
    if (nth === 0) return void socket.write(ANSWER);
    closed++;
    socket.destroy();
  });
  // Which connection a request takes is the client's affair: until it has taken one that it had before.
  for (let i = 0; closed === 0 && i < 1000; i++) {
    await turn();
    if ((await call('it', base, '/')) === null) t.fail('no answer');
  }
  t.equal(closed, 1);
});

t.test('it is asked twice at most, and what changes something once', async (t) => {
  const lines: string[] = [];
  const base = await serve(t, (socket, _nth, line) => {
    lines.push(line);
    socket.destroy();
  });
  await t.rejects(call('it', base, '/a'), { message: /it did not answer GET \/a/ });
  await t.rejects(call('it', base, '/b', { method: 'POST', body: {} }), { message: /it did not answer POST/ });
  t.same(lines, ['GET /a HTTP/1.1', 'GET /a HTTP/1.1', 'POST /b HTTP/1.1']);
});
