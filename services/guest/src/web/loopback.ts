/** The application on plain loopback TCP, in a process of its own: what the path through the guest is compared with.
 *  Started with an IPC channel; tells its port, answers with its CPU time, and ends with the channel. */
import type { AddressInfo } from 'node:net';
import { pinToCore } from '@grantline/machine';
import { endWithChannel } from '@grantline/base';
import { makeWebApp } from './app.js';

if (process.send === undefined) {
  process.stderr.write('loopback: is started by "grantline http"\n');
  process.exit(2);
}
endWithChannel();
const core = Number(process.env['GRANTLINE_CORE'] ?? NaN);
if (Number.isInteger(core)) pinToCore(core);
void makeWebApp({ name: 'loopback', onAnswer: () => {} }).then(({ server }) =>
  server.listen(0, '127.0.0.1', () => process.send?.({ port: (server.address() as AddressInfo).port })),
);
process.on('message', () => {
  const { user, system } = process.cpuUsage();
  process.send?.({ cpuNs: (user + system) * 1000, atNs: Number(process.hrtime.bigint()) });
});
