/** A testbed that nothing has run on yet, for a scenario that needs more of them than the one it has. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Client } from '../control/client.js';
import { Supervisor, type SupervisorOptions } from '../testbed/supervisor.js';

/** Starts one with a guest, and ends it behind `work`. One at a time. */
export async function freshTestbed<T>(
  options: Pick<SupervisorOptions, 'placement' | 'taps'>,
  work: (client: Client) => Promise<T>,
): Promise<T> {
  const logDir = mkdtempSync(join(tmpdir(), 'grantline-bench-'));
  const dir = `/dev/shm/grantline-bench-${process.pid}`;
  const supervisor = new Supervisor({ ...options, dir, guests: 1, use: 'own', logDir });
  const dropLogs = (): void => rmSync(logDir, { recursive: true, force: true });
  // The command may be interrupted, and ends the testbed that it knows of.
  const last = (): void => {
    supervisor.killNow();
    dropLogs();
  };
  process.once('exit', last);
  try {
    const client = await supervisor.start();
    return await Promise.race([work(client), supervisor.failure.then((error) => Promise.reject(error))]);
  } finally {
    await supervisor.stop();
    process.off('exit', last);
    dropLogs();
  }
}
