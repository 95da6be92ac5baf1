/** The dashboards, and the files that hold them. */
import type { Dashboard } from '@grafana/grafana-foundation-sdk/dashboard';
import { guests } from './pages/guests.js';
import { realTraffic } from './pages/real-traffic.js';
import { ringsAndGrants } from './pages/rings-and-grants.js';
import { safety } from './pages/safety.js';
import { throughput } from './pages/throughput.js';
import { whereTimeGoes } from './pages/where-time-goes.js';

export const DASHBOARDS: Readonly<Record<string, Dashboard>> = {
  'throughput.json': throughput,
  'where-time-goes.json': whereTimeGoes,
  'rings-and-grants.json': ringsAndGrants,
  'guests.json': guests,
  'safety.json': safety,
  'real-traffic.json': realTraffic,
};

/** @returns the file as it is committed */
export function asFile(dashboard: Dashboard): string {
  return `${JSON.stringify(dashboard, null, 2)}\n`;
}
