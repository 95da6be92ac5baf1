/** Changes the configuration of a running testbed and waits until every vif has come back with it. */
import { setTimeout as sleep } from 'node:timers/promises';
import { XENBUS, XENBUS_NAMES } from '@grantline/xen';
import type { Configuration } from '@grantline/base';
import { RunError } from '../base/errors.js';
import type { Client, ConfigStatus, VifStatus } from './client.js';

const SETTLE_LIMIT_MS = 15_000;
const CONNECTED = XENBUS_NAMES[XENBUS.connected];

/** @throws RunError when a vif does not settle: the message names it and its state */
export async function configure(client: Client, config: Configuration, limitMs = SETTLE_LIMIT_MS): Promise<void> {
  const { generation } = await client.putConfig(config.factors);
  const end = performance.now() + limitMs;
  let status: ConfigStatus;
  for (;;) {
    status = await client.config();
    if (status.settled && status.generation >= generation) return;
    if (performance.now() > end) break;
    await sleep(10);
  }
  const hanging = status.vifs.filter((v) => !vifSettled(v, status.generation, config.factors.path === 'native'));
  const list = (hanging.length > 0 ? hanging : status.vifs).map(describe).join('; ');
  throw new RunError(`configuration ${config.name} did not settle within ${limitMs / 1000} s: ${list}`);
}

/** docs/wire/control-plane.md, section 7, last paragraph. */
function vifSettled(v: VifStatus, generation: number, native: boolean): boolean {
  if (native) return Number(v.backendAck) === generation;
  return (
    Number(v.backendAck) === generation &&
    Number(v.frontendAck) === generation &&
    v.backend === CONNECTED &&
    v.frontend === CONNECTED
  );
}

function describe(v: VifStatus): string {
  const error = v.error ? `, error: ${v.error}` : '';
  return `${v.vif} backend ${v.backend} (ack ${v.backendAck ?? 'none'}), frontend ${v.frontend} (ack ${v.frontendAck ?? 'none'})${error}`;
}
