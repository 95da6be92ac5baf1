/** Prints a Prometheus configuration for a testbed on this machine:
 *  node dashboards/dist/src/embedded-main.js [127.0.0.1:7600] > prometheus.yml */
import { embeddedConfig } from './embedded.js';

const hypervisor = process.argv[2] ?? (process.env['GRANTLINE_HTTP'] || '127.0.0.1:7600');
if (process.argv.length > 3 || !/^[^\s:/]+:\d{1,5}$/.test(hypervisor)) {
  process.stderr.write(
    `dashboards: "${process.argv.slice(2).join(' ')}" is not host:port - give the hypervisor's address, such as 127.0.0.1:7600\n`,
  );
  process.exitCode = 2;
} else {
  process.stdout.write(embeddedConfig(hypervisor));
}
