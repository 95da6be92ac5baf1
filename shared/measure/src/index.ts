/** The ends of a measured run: receivers that prove every byte, senders, and the kernel's end of a TAP device. */
export { makeReceiver, startApp, type Apps } from './receive/receiver.js';
export { RecordApp } from './receive/record-app.js';
export { RespondApp } from './receive/respond-app.js';
export {
  MAX_BULK_FRAMES,
  RX_CSUM_BLANK,
  RX_FRAMES_SHIFT,
  RX_MSS_MASK,
  bulkFrames,
  framesOf,
} from './receive/rx-batch.js';
export { RxStack, type RxSink } from './receive/rx-stack.js';
export { NicSender } from './send/nic-sender.js';
export { SendApp, type SendRun } from './send/send-app.js';
export { SEND_PAGES, SendBuffers } from './send/send-buffers.js';
export { flowsOfSender, parseSend, sendRun } from './send/tool-run.js';
export { BufferedDevice, type LendingTxDevice, type TxDevice } from './send/tx-device.js';
export {
  IoTable,
  tapIsGone,
  tapSource,
  PACKET_BLANK,
  PACKET_GSO,
  PACKET_MALFORMED,
  PACKET_PLAIN,
  VnetHeader,
} from './tap/tap-io.js';
export { TapWriter, type TapOut } from './tap/tap-writer.js';
export {
  PATTERN_CHUNK,
  PATTERN_PERIOD,
  patternBody,
  patternChunk,
  patternStart,
  MAX_BODY_BYTES,
  MAX_MESSAGE_BYTES,
  MAX_STREAM_CHUNK,
  REQUEST_ID,
  RootBody,
  UploadBody,
} from './web/web-api.js';
