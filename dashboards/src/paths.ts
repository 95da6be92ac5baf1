/** Where the shipped files are, seen from dist/src/. */
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The folder dashboards/ of the repository. */
export const HOME = resolve(fileURLToPath(import.meta.url), '../../..');
export const REPOSITORY = resolve(HOME, '..');
export const JSON_DIR = resolve(HOME, 'grafana/dashboards');
export const PROVISIONING_DIR = resolve(HOME, 'grafana/provisioning');
export const PROMETHEUS_DIR = resolve(HOME, 'prometheus');
