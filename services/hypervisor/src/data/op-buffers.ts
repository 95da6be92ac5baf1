/** The hypervisor's private copy of one batch. A batch is copied in once and judged there; aligned typed arrays over it
 *  cost a fraction of a DataView or of Buffer's readers. */
import { COPY_BYTES, HYPERCALL_MAX_COUNT, MAP_RES_BYTES } from '@grantline/xen';

export class OpBuffers {
  /** Elements of the batch. */
  readonly req: Buffer;
  readonly req16: Uint16Array;
  readonly req32: Uint32Array;
  /** The same, signed: its values are small integers for the engine, whatever a caller sends. */
  readonly req32s: Int32Array;
  /** Results of the batch. */
  readonly res: Buffer;
  readonly res16: Int16Array;
  readonly res32: Uint32Array;

  constructor() {
    const request = new ArrayBuffer(HYPERCALL_MAX_COUNT * COPY_BYTES);
    const result = new ArrayBuffer(HYPERCALL_MAX_COUNT * MAP_RES_BYTES);
    this.req = Buffer.from(request);
    this.req16 = new Uint16Array(request);
    this.req32 = new Uint32Array(request);
    this.req32s = new Int32Array(request);
    this.res = Buffer.from(result);
    this.res16 = new Int16Array(result);
    this.res32 = new Uint32Array(result);
  }
}
