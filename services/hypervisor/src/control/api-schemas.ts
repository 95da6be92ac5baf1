/** Parts of schemas that several routes have. */
import { Type, type TSchema } from '@sinclair/typebox';

export const Nullable = <T extends TSchema>(schema: T) => Type.Union([schema, Type.Null()]);
export const Empty = Type.Object({});
export const Domid = Type.Object({ domid: Type.Integer({ minimum: 0, maximum: 0xffff }) });

export const Factors = Type.Object({
  path: Type.String(),
  nicQueues: Type.String(),
  grants: Type.String(),
  bufferBytes: Type.Integer(),
  lro: Type.Boolean(),
  tso: Type.Boolean(),
  batching: Type.Boolean(),
});
