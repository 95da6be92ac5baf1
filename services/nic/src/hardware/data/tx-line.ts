/** Where packets of transmit queues go. */
import type { CableOut } from './cable-out.js';
import type { PacketMemory } from './packet-memory.js';
import type { Segmenter } from './segmenter.js';
import type { TxSwitch } from './tx-switch.js';

/** What all transmit queues share. */
export interface TxLine {
  readonly out: CableOut;
  readonly memory: PacketMemory;
  readonly segmenter: Segmenter;
  readonly local: TxSwitch;
  /** The wire was free, with packets waiting, for so long before this burst: they may count as sent then. */
  slackNs: number;
}
