/** What a process does with its machine: memory and doorbells of others, native calls, the data loop, counters in shared memory. */
export {
  CounterBlock,
  slots,
  BLOCKS_AT,
  COUNTER_FILE_BYTES,
  COUNTER_MAGIC,
  CounterFile,
  TOC_AT,
  type BlockSnapshot,
  type TocEntry,
} from './counters/counter-file.js';
export {
  RX,
  TX,
  both,
  contained,
  copied,
  copies,
  counters,
  drop,
  dropOf,
  hidden,
  level,
  named,
  sent,
  shown,
  snake,
  suppressed,
  type By,
  type Counter,
  type Counters,
  type Declared,
  type Entry,
  type Layout,
  type Series,
} from './counters/declare.js';
export {
  LABEL_NAMES,
  TESTBED_FAMILIES,
  counter,
  gauge,
  summary,
  type Family,
  type Labels,
} from './counters/families.js';
export { LATENCY, latencyPercentiles, mergeLatency, recordLatency } from './counters/latency.js';
export {
  CPU_COMMON,
  CPU_CONTROL,
  CPU_COUNTERS,
  CPU_WAKEUP,
  CpuMeter,
  DRIVER_DOMAIN_CPU,
  GUEST_CPU,
  HYPERVISOR_CPU,
  NIC_CPU,
  cpuLayout,
} from './loop/cpu-meter.js';
export { measureHandover, type Handover } from './handover/measure-handover.js';
export { DataLoop, LOOP_COUNTERS, type LoopHooks, type Poller } from './loop/data-loop.js';
export { AddressSpace, memOver, type Mem, type PrivateMemory } from './mem/address-space.js';
export { DescriptorDoor, NoDescriptor, fetchDescriptor, showDescriptor } from './mem/descriptors.js';
export { Doorbell, Ringer, WakeSource } from './mem/doorbell.js';
export { Fence, standBehind, ProcessHandle } from './mem/process-handle.js';
export { FileLock } from './mem/file-lock.js';
export {
  leaveProcessGroup,
  makePipe,
  pinToCore,
  pokeFd,
  processCpuNs,
  runOnCores,
  setTimerSlackNs,
  threadCpuNs,
} from './mem/libc.js';
export { makeMemory, sealSeals, sealWrites } from './mem/memory-file.js';
export {
  openTapOr,
  tryTap,
  TAP_PACKET_BYTES,
  TapDevice,
  VNET_BYTES,
  VNET_GSO_NONE,
  VNET_GSO_TCPV4,
  VNET_NEEDS_CSUM,
} from './mem/tun.js';
export type { Laps, Logs, Notify, Scheduler } from './ports.js';
