/** Prints a Prometheus configuration for a testbed on this machine:
 *  node dashboards/dist/src/embedded-main.js [127.0.0.1:7600 [127.0.0.1:7680]] > prometheus.yml */
import { embeddedConfig } from './shipped.js';

const hypervisor = process.argv[2] ?? (process.env['GRANTLINE_HTTP'] || '127.0.0.1:7600');
const page = process.argv[3] ?? '127.0.0.1:7680';
if (process.argv.length > 4 || ![hypervisor, page].every((at) => /^[^\s:/]+:\d{1,5}$/.test(at))) {
  process.stderr.write(
    `dashboards: "${process.argv.slice(2).join(' ')}" is not host:port - give the addresses of the hypervisor and of the live page, such as 127.0.0.1:7600 127.0.0.1:7680\n`,
  );
  process.exitCode = 2;
} else {
  process.stdout.write(embeddedConfig(hypervisor, page));
}
