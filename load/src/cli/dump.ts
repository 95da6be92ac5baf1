/** grantline dump vif1.0: rings, grants, ports and store paths of one vif, as text. Changes nothing: it can be called
 *  while a run is under way. */
import type { Command } from 'commander';
import { DIR_OPTION } from './options.js';
import { dumpText, type VifDump } from '../report/dump-text.js';
import type { Client, ServiceClient } from '../control/client.js';
import { printableLines } from '@grantline/base';
import { HttpError } from '../base/http.js';
import { UserError } from '../base/errors.js';
import { parseVif } from '../base/option-values.js';
import { clientOf, HYPERVISOR_OPTION, TOKEN_OPTION, type RemoteArguments } from './remote.js';

/** Asks all services for what they know of a vif. A part that cannot be had is an object with `error`. */
export async function collectDump(client: Client, name: string, guest: number, device: number): Promise<VifDump> {
  const services = await client.services();
  const backend = services.find((s) => s.kind === 'driver-domain');
  const front = services.find((s) => s.kind === 'guest' && s.domid === guest);
  const nic = services.find((s) => s.kind === 'nic');
  const known = services.filter((s) => s.kind === 'guest').map((s) => `vif${s.domid}.0`);
  if (!front || device !== 0)
    throw new UserError(
      `there is no ${name}`,
      known.length > 0 ? `known are ${known.join(', ')}` : 'the testbed has no guest',
    );
  const ask = (s: ServiceClient | undefined): Promise<unknown> =>
    s ? orError(client.ask(s, '/dump')) : Promise.resolve({ error: 'not running' });
  const [config, dd, guestDump, nicDump, grants, ports, backendStore, frontendStore] = await Promise.all([
    client.config(),
    ask(backend),
    ask(front),
    ask(nic),
    orError(client.grants(guest)),
    orError(client.ports(guest)),
    orError(client.xenstore(`/local/domain/${backend?.domid ?? 1000}/backend/vif/${guest}/${device}`)),
    orError(client.xenstore(`/local/domain/${guest}/device/vif/${device}`)),
  ]);
  const vif = config.vifs.find((v) => v.vif === name);
  return {
    vif: name,
    states: vif
      ? { ...vif, generation: config.generation, factors: config.factors }
      : { error: 'the toolstack does not know it' },
    rings: { driverDomain: onlyVif(dd, name), guest: onlyVif(guestDump, name), nic: onlyVif(nicDump, name) },
    grants,
    ports,
    xenstore: { backend: backendStore, frontend: frontendStore },
  };
}

async function orError(promise: Promise<unknown>): Promise<unknown> {
  try {
    return await promise;
  } catch (error) {
    if (error instanceof HttpError) return { error: error.message };
    throw error;
  }
}

/** Leaves out what a dump says of other vifs: list elements that name one, and keys that are one's name. */
export function onlyVif(value: unknown, name: string): unknown {
  const isOther = (text: unknown): boolean => typeof text === 'string' && /^vif\d+\.\d+$/.test(text) && text !== name;
  if (Array.isArray(value)) {
    return value
      .filter(
        (x: unknown) =>
          !(
            x !== null &&
            typeof x === 'object' &&
            ['vif', 'name', 'queue'].some((k) => isOther((x as Record<string, unknown>)[k]))
          ),
      )
      .map((x) => onlyVif(x, name));
  }
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(
    Object.entries(value)
      .filter(([k]) => !isOther(k))
      .map(([k, v]) => [k, onlyVif(v, name)]),
  );
}

interface DumpArguments extends RemoteArguments {
  json?: true;
  dir?: string;
}

/** JSON in which all that a terminal could take for more than text is escaped. */
const asciiJson = (value: unknown): string =>
  JSON.stringify(value, null, 2).replace(
    /[^\n\x20-\x7e]/g,
    (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );

export function addDump(command: Command): void {
  command
    .option('--json', 'as JSON')
    .option(...HYPERVISOR_OPTION)
    .option(...TOKEN_OPTION)
    .option(...DIR_OPTION)
    .action(async (vif: string, args: DumpArguments) => {
      const { guest, device } = parseVif(vif);
      const client = await clientOf(args);
      const d = await collectDump(client, vif, guest, device);
      const text = args.json ? asciiJson(d) : printableLines(dumpText(d), Infinity);
      process.stdout.write(`${text}\n`);
    });
}
