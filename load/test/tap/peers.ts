/** Programs that talk to guests from network namespaces: an honest server, a steady client, and clients that never come to the point.
 *  Each is a process of its own: node peers.js ROLE [ADDRESS]. */
import { createHash } from 'node:crypto';
import { createServer } from 'node:http';
import { connect, type NetConnectOpts, type Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import { patternBody } from '@grantline/measure';

export const PEERS = fileURLToPath(import.meta.url);
/** Where the server listens, and where a guest's own application does. */
export const SERVER_PORT = 8080;
export const GUEST_PORT = 80;

/** Made from the length alone, so that both sides know it. */
export const bodyOf = (bytes: number): Buffer => patternBody(bytes, bytes);
export const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

const say = (line: string): void => void process.stdout.write(`${line}\n`);

const roles: Record<string, (host: string) => void> = {
  /** Answers GET /bytes/N with a body of that length, POST with the checksum of what came. */
  server: () => {
    createServer((request, response) => {
      if (request.method === 'POST') {
        const hash = createHash('sha256');
        request.on('data', (chunk: Buffer) => hash.update(chunk));
        request.on('end', () => response.end(hash.digest('hex')));
      } else {
        const bytes = Number(request.url?.split('/')[2]);
        response.setHeader('content-length', bytes);
        response.end(bodyOf(bytes));
      }
    }).listen(SERVER_PORT, () => say('listening'));
  },

  /** One connection, one request after the other; tells how many were answered. */
  steady: (host) => {
    const socket = connect(GUEST_PORT, host);
    const get = (): unknown => socket.write('GET /bytes/1000 HTTP/1.1\r\nHost: x\r\n\r\n');
    const end = (why: string): never => {
      say(why);
      process.exit(1);
    };
    let [got, needed, answers] = [0, 0, 0];
    socket.on('connect', get);
    socket.on('data', (chunk) => {
      got += chunk.length;
      if (needed === 0) needed = chunk.indexOf('\r\n\r\n') + 4 + 1000;
      if (got < needed) return;
      [got, needed] = [0, 0];
      say(String(++answers));
      setTimeout(get, 50);
    });
    socket.on('error', (error) => end(error.message));
    socket.on('close', () => end('closed'));
  },

  /** Requests that begin and never end. */
  'slow-headers': (host) =>
    hold(1000, { port: GUEST_PORT, host }, 'GET / HTTP/1.1\r\nHost: x\r\n', 2000, (socket) => {
      if (socket.writable) socket.write('X: y\r\n');
    }),

  /** Readers of a body who take 32 bytes every five seconds. */
  'slow-readers': (host) => {
    const onread = { buffer: Buffer.alloc(32), callback: () => false };
    const get = 'GET /bytes/1000000 HTTP/1.1\r\nHost: x\r\n\r\n';
    hold(500, { port: GUEST_PORT, host, onread }, get, 5000, (socket) => {
      if (!socket.destroyed) socket.resume();
    });
  },
};

/** Opens connections that send `first` and stay, and tells how many there have been. @param act what each does again and again */
function hold(count: number, to: NetConnectOpts, first: string, everyMs: number, act: (socket: Socket) => void): void {
  let open = 0;
  for (let i = 0; i < count; i++) {
    const socket = connect(to, () => {
      socket.write(first);
      open++;
    });
    socket.on('error', () => {});
    setInterval(() => act(socket), everyMs);
  }
  setInterval(() => say(`open ${open}`), 500);
}

const [, , role = '', address = ''] = process.argv;
roles[role]?.(address);
