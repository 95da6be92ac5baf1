/** Every metric of every service, in the order of the page. docs/wire/metrics.md. */
import { counter, gauge, TESTBED_FAMILIES, type Family } from '@grantline/machine';

const PROCESS_FAMILIES = {
  grantline_build_info: gauge('What is running.', 'version', 'revision', 'node'),
  process_cpu_seconds_total: counter('CPU time of all threads.'),
  process_resident_memory_bytes: gauge('Resident memory.'),
  process_start_time_seconds: gauge('Start of the process since the epoch.'),
  nodejs_heap_size_used_bytes: gauge('Used heap.'),
  nodejs_external_memory_bytes: gauge('Memory outside the heap.'),
} as const satisfies Record<string, Family>;

export const FAMILIES = {
  ...TESTBED_FAMILIES,
  ...PROCESS_FAMILIES,
} as const;
export type FamilyName = keyof typeof FAMILIES;
