/** A container's health check: exit code 0 when the service in it is ready. Images need no curl for it. */
import { get } from 'node:http';
import { parseListen } from './env.js';

const LIMIT_MS = 3000;

const { host, port } = parseListen(process.env['GRANTLINE_HTTP'] ?? '127.0.0.1:7600');
const request = get(
  { host: host === '0.0.0.0' ? '127.0.0.1' : host, port, path: '/health/ready', timeout: LIMIT_MS },
  (response) => process.exit(response.statusCode === 200 ? 0 : 1),
);
request.on('timeout', () => process.exit(1));
request.on('error', () => process.exit(1));
