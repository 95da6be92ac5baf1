/** What the hypervisor's metrics show besides counters: states and levels, read when asked. docs/wire/metrics.md. */
import { XENBUS } from '@grantline/xen';
import { configurationName, configurationNames, domainName } from '@grantline/base';
import type { Reading } from '@grantline/observe';
import { activeEntries } from '../data/inspect.js';
import type { Parts } from './parts.js';

/** All that is not counted. */
export function readings(hv: Parts): Reading[] {
  const inForce = configurationName(hv.toolstack.factors);
  return [
    ...domainReadings(hv),
    ...vifReadings(hv),
    { family: 'grantline_dma_entries', value: hv.dma.used },
    ...[...configurationNames, 'custom'].map((config): Reading => ({
      family: 'grantline_configuration_info',
      labels: { config },
      value: config === inForce ? 1 : 0,
    })),
  ];
}

function domainReadings(hv: Parts): Reading[] {
  return hv.domains.list().flatMap(({ domid, state }) => {
    const labels = { domain: domainName(domid) };
    const memory = hv.memory.get(domid);
    return [
      { family: 'grantline_domain_up', labels, value: state === 'running' ? 1 : 0 },
      { family: 'grantline_domain_starts_total', labels, value: hv.starts.get(domid) ?? 0 },
      { family: 'grantline_active_grants', labels, value: memory === null ? 0 : activeEntries(memory) },
      { family: 'grantline_mappings', labels, value: memory?.maptrack.used ?? 0 },
    ] satisfies Reading[];
  });
}

function vifReadings(hv: Parts): Reading[] {
  return hv.toolstack.vifs().flatMap(({ vif, guest, backend, frontend, error }) => {
    const labels = { domain: domainName(guest), vif };
    const state = (component: string, name: string): Reading => ({
      family: 'grantline_vif_state',
      labels: { ...labels, component },
      value: XENBUS[name as keyof typeof XENBUS],
    });
    return [
      state('backend', backend),
      state('frontend', frontend),
      { family: 'grantline_vif_disabled', labels, value: error === null ? 0 : 1 },
    ];
  });
}
