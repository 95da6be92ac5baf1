/** The command in this process: what it says and with which code it would end. For lines that it refuses, or answers at once: a
 *  process for each takes most of a second. */
import { run } from '../../src/cli/program.js';

export interface Ran {
  code: number | null;
  stdout: string;
  stderr: string;
}

/** @param env what is set for it; nothing else may be awaited or written meanwhile */
export async function here(env: NodeJS.ProcessEnv, ...args: string[]): Promise<Ran> {
  const before = { ...process.env };
  Object.assign(process.env, env);
  const said = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const)
    process[name].write = (text: string | Uint8Array): boolean => ((said[name] += String(text)), true);
  try {
    return { code: await run(args), ...said };
  } finally {
    for (const name of ['stdout', 'stderr'] as const) Reflect.deleteProperty(process[name], 'write');
    for (const name of Object.keys(process.env)) if (!(name in before)) delete process.env[name];
    Object.assign(process.env, before);
  }
}
