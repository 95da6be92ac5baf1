/** Where the hypervisor is reached: by everybody at an address, by domains of this machine at a socket file. Both speak
 *  HTTP, and WebSocket for domains; the socket file is for these alone. At another socket file descriptors are handed out for tickets. */
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type ListenAddress, createHttp, listenHttp, type HttpOptions, type ServiceHttp } from '@grantline/service';
import { DescriptorDoor } from '@grantline/machine';
import { limitListening } from '@grantline/base';
import type { TestbedFiles } from './testbed-files.js';
import type { HypercallServer } from './hypercall-server.js';
import type { Places } from './joins.js';
import type { Tickets } from './shares.js';

export interface DoorsOptions {
  http: Omit<HttpOptions, 'name' | 'domain' | 'ready' | 'listen'>;
  /** Adds the hypervisor's own routes. */
  addRoutes: (http: ServiceHttp) => void;
  /** Called before each request over HTTP is looked at. */
  beforeRequest: () => void;
  server: HypercallServer;
  files: TestbedFiles;
  tickets: Tickets;
  places: Places;
}

export class Doors {
  private readonly o: DoorsOptions;
  private http: ServiceHttp | null = null;
  private unix: Server | null = null;
  private shared: DescriptorDoor | null = null;

  constructor(options: DoorsOptions) {
    this.o = options;
  }

  /** @returns the URL. @throws UsageError when the address cannot be had; then `close` is still to be called */
  async open(listen: ListenAddress): Promise<string> {
    const { server, files, beforeRequest } = this.o;
    // The first of all: a domain that has connected needs it at once.
    this.shared = new DescriptorDoor(
      files.sharedSocket,
      (ticket) => this.o.tickets.use(ticket),
      (name, fd) => this.o.places.show(name, fd),
    );
    files.openSocket(files.sharedSocket);
    const http = createHttp({
      ...this.o.http,
      listen,
      name: 'hypervisor',
      domain: 'hypervisor',
      ready: () => true,
    });
    this.http = http;
    http.addHook('onRequest', (_request, _reply, next) => {
      beforeRequest();
      next();
    });
    this.o.addRoutes(http);
    server.attach(http.server);
    const url = await listenHttp(http, listen);
    // Every guest reaches it, and no guest has business with the operator's pages.
    const unix = createServer((_request, response) => response.writeHead(404).end());
    this.unix = unix;
    limitListening(unix);
    server.attach(unix);
    await new Promise<void>((resolve, reject) => {
      unix.once('error', reject);
      unix.listen(files.socket, resolve);
    });
    files.openSocket(files.socket);
    const { port } = http.server.address() as AddressInfo;
    files.announce(port);
    this.o.http.log.info({ url, dir: files.dir, port }, 'ready');
    return url;
  }

  async close(): Promise<void> {
    this.shared?.close();
    await this.http?.close();
    const { unix } = this;
    if (unix === null) return;
    await new Promise<void>((resolve) => {
      unix.close(() => resolve());
      unix.closeAllConnections();
    });
  }
}
