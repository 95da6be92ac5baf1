/** What the commands that start services take from the environment. */
import { parseListen } from '../base/option-values.js';

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
      const whose = name === 'GRANTLINE_METRICS' ? 'commands with --hypervisor' : 'a service that is started by itself';
      return `${name} has no effect here: it is a setting of ${whose}`;
    });
}
