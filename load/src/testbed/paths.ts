/** Where things are: the repository, the services' entry points, the testbed's directory, the results. */
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { above, canonical, usualDir } from '@grantline/base';
import { UserError } from '../base/errors.js';

/** The repository; in an image what stands in its place. */
export const REPOSITORY = above(import.meta.url, 'package-lock.json');
/** Where all programs lie that belong to this one, by tsc's paths: the started form (tools/started-form.mjs), or the repository when this
 *  is what tsc made. */
export const CODE = above(import.meta.url, 'services');

/** @param path such as services/guest/dist/src/main.js */
export const programOf = (path: string): string => join(CODE, path);

export const SERVICES = ['hypervisor', 'driver-domain', 'nic', 'guest'] as const;
export type ServiceKind = (typeof SERVICES)[number];

/** @returns the built entry point of a service. @throws UserError when it is not built */
export function entryOf(service: ServiceKind): string {
  const path = programOf(`services/${service}/dist/src/main.js`);
  if (!existsSync(path))
    throw new UserError(`services/${service} is not built`, 'run npm start or npm run build first');
  return path;
}

/** A socket's address has room for 107 bytes (sun_path in sys/un.h, less the closing zero). */
const MAX_DIR_BYTES = 107 - '/hypervisor.sock'.length;

/** The directory on tmpfs that holds everything shared: --dir, GRANTLINE_DIR, or one per user. Symbolic links above it are followed
 *  here, once, so that all call it by one name.
 *  @throws UserError when the path is too long */
export function testbedDir(option: string | undefined, env: NodeJS.ProcessEnv = process.env): string {
  const dir = canonical(option ?? (env['GRANTLINE_DIR'] || usualDir(env)));
  if (Buffer.byteLength(dir) > MAX_DIR_BYTES)
    throw new UserError(
      `the path ${dir} is too long: the hypervisor's socket in it could not be reached`,
      `choose a directory with at most ${MAX_DIR_BYTES} bytes in its path`,
    );
  return dir;
}

/** Found without being named. */
export const isUsualDir = (dir: string, env: NodeJS.ProcessEnv = process.env): boolean =>
  testbedDir(undefined, env) === dir;

/** GRANTLINE_RESULTS, or results/ in the repository. */
export const resultsRoot = (): string => resolve(process.env['GRANTLINE_RESULTS'] || join(REPOSITORY, 'results'));
