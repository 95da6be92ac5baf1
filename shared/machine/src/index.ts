export { CounterBlock, slots } from './counters/block.js';
export { COUNTER_FILE_BYTES, CounterFile, type BlockSnapshot } from './counters/file.js';
export { latencyNames, latencyPercentiles, mergeLatency, recordLatency } from './counters/latency.js';
export { CounterReader, readCounterFile, readerOf } from './counters/reader.js';
export { CPU_COMMON, CPU_CONTROL, CPU_WAKEUP, CpuMeter } from './loop/cpu-meter.js';
export { DataLoop, LOOP_COUNTERS, type Poller } from './loop/data-loop.js';
export { AddressSpace, memOver, type Mem, type PrivateMemory } from './mem/address-space.js';
export { DescriptorDoor, NoDescriptor, fetchDescriptor, showDescriptor } from './mem/descriptors.js';
export { Doorbell, Ringer, WakeSource } from './mem/doorbell.js';
export { Fence, standBehind } from './mem/fence.js';
export { FileLock } from './mem/file-lock.js';
export {
  leaveProcessGroup,
  makePipe,
  pinToCore,
  pokeFd,
  processCpuNs,
  setTimerSlackNs,
  threadCpuNs,
} from './mem/libc.js';
export { makeMemory, sealSeals, sealWrites } from './mem/memory-file.js';
export { ProcessHandle } from './mem/process-handle.js';
export { openTapOr, tryTap } from './mem/tun-refusal.js';
export { TAP_PACKET_BYTES, TapDevice, VNET_BYTES, VNET_GSO_NONE, VNET_GSO_TCPV4, VNET_NEEDS_CSUM } from './mem/tun.js';
