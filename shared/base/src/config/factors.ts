/** The factors of a vif and the configurations made of them: docs/wire/control-plane.md section 5. */

export interface Factors {
  path: 'split' | 'direct' | 'native';
  nicQueues: 'single' | 'per-guest';
  grants: 'per-frame' | 'reuse';
  bufferBytes: 4096 | 2048;
  lro: boolean;
  batching: boolean;
  tso: boolean;
}

type Value = Factors[keyof Factors];

/** The values that each factor can take. */
export const FACTOR_VALUES: { readonly [K in keyof Factors]: readonly Factors[K][] } = {
  path: ['split', 'direct', 'native'],
  nicQueues: ['single', 'per-guest'],
  grants: ['per-frame', 'reuse'],
  bufferBytes: [4096, 2048],
  lro: [false, true],
  batching: [false, true],
  tso: [false, true],
};

const BASELINE: Factors = {
  path: 'split',
  nicQueues: 'single',
  grants: 'per-frame',
  bufferBytes: 4096,
  lro: false,
  batching: false,
  tso: false,
};
const OPTIMISED: Factors = {
  path: 'split',
  nicQueues: 'per-guest',
  grants: 'reuse',
  bufferBytes: 2048,
  lro: true,
  batching: true,
  tso: true,
};

/** The named ladder, in the order in which a comparison runs it. */
export const CONFIGURATIONS = {
  baseline: BASELINE,
  multiqueue: { ...BASELINE, nicQueues: 'per-guest' },
  'grant-reuse': { ...BASELINE, nicQueues: 'per-guest', grants: 'reuse' },
  optimised: OPTIMISED,
  direct: { ...OPTIMISED, path: 'direct' },
  native: { ...OPTIMISED, path: 'native', nicQueues: 'single' },
} as const satisfies Record<string, Factors>;

export type ConfigurationName = keyof typeof CONFIGURATIONS;
export const configurationNames = Object.keys(CONFIGURATIONS) as ConfigurationName[];

/** @returns the configuration with exactly these factors, or 'custom' */
export function configurationName(factors: Factors): ConfigurationName | 'custom' {
  const keys = Object.keys(FACTOR_VALUES) as (keyof Factors)[];
  return configurationNames.find((name) => keys.every((k) => CONFIGURATIONS[name][k] === factors[k])) ?? 'custom';
}

/** Factors with the name under which they appear in tables and results. */
export interface Configuration {
  name: string;
  factors: Factors;
}

/** @returns the configuration of that name, or undefined */
export function configurationNamed(name: string): Configuration | undefined {
  const found = configurationNames.find((n) => n === name);
  return found && { name, factors: { ...CONFIGURATIONS[found] } };
}

/** Puts some factors over others. @throws Error with a line for the operator when a factor or a value is unknown */
export function changeFactors(from: Factors, change: Readonly<Record<string, unknown>>): Factors {
  const out: Record<string, Value> = { ...from };
  for (const [name, value] of Object.entries(change)) {
    const values = valuesOf(name);
    const found = values.find((v) => v === value);
    if (found === undefined) throw new Error(`factor ${name} cannot be ${JSON.stringify(value)}: ${oneOf(values)}`);
    out[name] = found;
  }
  return out as unknown as Factors;
}

/** A factor's value as an operator types it. @throws Error with a line for the operator when there is none such */
export function parseFactor(name: string, text: string): Value {
  const values = valuesOf(name);
  const found = values.find((v) => String(v) === text);
  if (found === undefined) throw new Error(`factor ${name} cannot be "${text}": ${oneOf(values)}`);
  return found;
}

function valuesOf(name: string): readonly Value[] {
  if (!Object.hasOwn(FACTOR_VALUES, name))
    throw new Error(`unknown factor '${name}': the factors are ${Object.keys(FACTOR_VALUES).join(', ')}`);
  return FACTOR_VALUES[name as keyof Factors];
}

const oneOf = (values: readonly Value[]): string => `it is one of ${values.map((v) => JSON.stringify(v)).join(', ')}`;

/** xenstore key of each factor. */
const KEYS: { readonly [K in keyof Factors]: string } = {
  path: 'path',
  nicQueues: 'nic-queues',
  grants: 'grants',
  bufferBytes: 'buffer-bytes',
  lro: 'lro',
  batching: 'batching',
  tso: 'tso',
};
const NAMES = Object.keys(KEYS) as (keyof Factors)[];
const asText = (v: Value): string => (typeof v === 'boolean' ? (v ? '1' : '0') : String(v));

/** The factors as xenstore keys: text, booleans as 0 or 1. */
export function factorKeys(factors: Factors): Record<string, string> {
  return Object.fromEntries(NAMES.map((k) => [KEYS[k], asText(factors[k])]));
}

/** Reads a key of a vif's backend directory; null when there is none. */
export type ReadKey = (key: string) => Promise<string | null>;

/** Reads the factors back. @throws Error when a key is missing or has no possible value */
export async function readFactors(read: ReadKey): Promise<Factors> {
  const out: Record<string, Value> = {};
  for (const k of NAMES) {
    const text = await read(KEYS[k]);
    const found = (FACTOR_VALUES[k] as readonly Value[]).find((v) => asText(v) === text);
    if (found === undefined) throw new Error(`${KEYS[k]} is ${text === null ? 'missing' : `'${text.slice(0, 40)}'`}`);
    out[k] = found;
  }
  return out as unknown as Factors;
}

/** All factors of one generation; or, when they cannot be read, why. */
export type FactorSample = { generation: number } & (
  { factors: Factors; error: null } | { factors: null; error: string }
);

/** Reads the factors together with their generation. The toolstack writes both at once; a reader that takes them key by key
 *  reads the generation before and after, and begins again when it has changed.
 *  @returns null when the vif's directory is gone @throws Error when the generation is no number */
export async function sampleFactors(read: ReadKey): Promise<FactorSample | null> {
  for (;;) {
    const before = await read('generation');
    if (before === null) return null;
    const result = await readFactors(read).then(
      (factors) => ({ factors, error: null }),
      (err: unknown) => ({ factors: null, error: (err as Error).message }),
    );
    if ((await read('generation')) !== before) continue;
    if (!/^\d{1,15}$/.test(before)) throw new Error(`generation is '${before.slice(0, 40)}'`);
    return { generation: Number(before), ...result };
  }
}
