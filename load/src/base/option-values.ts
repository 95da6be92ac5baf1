/** Checks of what the user typed, or set in the environment, that not only the command needs. As those of cli/options.ts: each takes the
 *  text and gives the value, or throws a UserError. */
import { UserError } from './errors.js';

/** A plain decimal number: "1e3", "0x10", "" and " 5" are none. */
export function decimal(text: string): number {
  return /^\d+(\.\d+)?$/.test(text) ? Number(text) : NaN;
}

export function integerIn(text: string, what: string, low: number, high: number): number {
  const n = decimal(text);
  if (!Number.isInteger(n) || n < low || n > high) {
    throw new UserError(`${what} "${text}" is out of range`, `give a whole number from ${low} to ${high}`);
  }
  return n;
}

export const parseRepeat = (text: string): number => integerIn(text, 'repeat', 1, 100);

/** @param unit of the number, for the message */
export function numberIn(text: string, what: string, low: number, high: number, unit = 'a number'): number {
  const n = decimal(text);
  if (!(n >= low && n <= high))
    throw new UserError(`${what} "${text}" is out of range`, `give ${unit} from ${low} to ${high}`);
  return n;
}

/** Measured seconds. */
export const parseSeconds = (text: string): number => numberIn(text, 'seconds', 0.1, 86_400);

/** --listen HOST:PORT. */
export function parseListen(text: string): { host: string; port: number } {
  const m = /^(\[[0-9a-f:]+\]|[\w.-]+):(\d{1,5})$/i.exec(text);
  const port = m ? Number(m[2]) : NaN;
  if (!m || !(port <= 65535)) throw new UserError(`"${text}" is not HOST:PORT`, 'write for example 127.0.0.1:7600');
  return { host: m[1].replace(/^\[|\]$/g, ''), port };
}

/** vif1.0 → guest domain and device. */
export function parseVif(text: string): { guest: number; device: number } {
  const m = /^vif(\d{1,4})\.(\d{1,2})$/.exec(text);
  if (!m) throw new UserError(`"${text}" is not the name of a vif`, 'write for example vif1.0: domain 1, device 0');
  return { guest: Number(m[1]), device: Number(m[2]) };
}

/** --edge HOST:PORT, or PORT of the loopback address; GRANTLINE_EDGE says it for all commands. @returns null: free ports */
export function parseEdge(
  option: string | undefined,
  env: NodeJS.ProcessEnv = process.env,
): { host: string; port: number } | null {
  const text = option ?? env['GRANTLINE_EDGE'];
  if (text === undefined || text === '') return null;
  return parseListen(/^\d+$/.test(text) ? `127.0.0.1:${text}` : text);
}

/** Settings that commands take from the environment. */
const HEARD = new Set(
  'DIR RESULTS HTTP EDGE LOG NODE_FLAGS REVISION HYPERVISOR_URL TOKEN TOKEN_FILE PORT'
    .split(' ')
    .map((n) => `GRANTLINE_${n}`),
);

/** @returns a line about each setting of a service that does nothing when given to a command that starts them */
export function unheard(env: NodeJS.ProcessEnv = process.env): string[] {
  return Object.keys(env)
    .filter((name) => name.startsWith('GRANTLINE_') && !HEARD.has(name) && env[name] !== '')
    .map((name) => {
      const owner = name === 'GRANTLINE_METRICS' ? 'commands with --hypervisor' : 'a service that is started by itself';
      return `${name} has no effect here: it is a setting of ${owner}`;
    });
}
