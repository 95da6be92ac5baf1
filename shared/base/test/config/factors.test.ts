import t from 'tap';
import {
  CONFIGURATIONS,
  changeFactors,
  configurationName,
  configurationNamed,
  configurationNames,
  factorKeys,
  parseFactor,
  readFactors,
  sampleFactors,
} from '../../src/config/factors.js';

const from =
  (keys: Record<string, string>) =>
  (key: string): Promise<string | null> =>
    Promise.resolve(keys[key] ?? null);

t.test('the ladder is in the order of a comparison, and each step has its name', (t) => {
  t.same(configurationNames, ['baseline', 'multiqueue', 'grant-reuse', 'optimised', 'direct', 'native']);
  for (const name of configurationNames) {
    t.equal(configurationName(CONFIGURATIONS[name]), name);
    t.same(configurationNamed(name), { name, factors: CONFIGURATIONS[name] });
  }
  t.equal(configurationName({ ...CONFIGURATIONS.baseline, lro: true }), 'custom');
  t.equal(configurationNamed('toString'), undefined);
  t.end();
});

t.test('factors survive xenstore', async (t) => {
  for (const factors of Object.values(CONFIGURATIONS)) t.same(await readFactors(from(factorKeys(factors))), factors);
});

t.test('a change is exact in name, value and type, and leaves the rest and the original', (t) => {
  const base = { ...CONFIGURATIONS.baseline };
  t.same(changeFactors(base, { lro: true }), { ...base, lro: true });
  t.same(base, CONFIGURATIONS.baseline);
  t.throws(() => changeFactors(base, { turbo: 1 }), {
    message: "unknown factor 'turbo': the factors are path, nicQueues, grants, bufferBytes, lro, batching, tso",
  });
  t.throws(() => changeFactors(base, { constructor: 1 }), /unknown factor/);
  t.throws(() => changeFactors(base, { lro: 'true' }), {
    message: 'factor lro cannot be "true": it is one of false, true',
  });
  t.throws(() => changeFactors(base, { grants: 'x' }), /"per-frame", "reuse"/);
  t.end();
});

t.test('what an operator types becomes the value of its type', (t) => {
  t.equal(parseFactor('bufferBytes', '2048'), 2048);
  t.equal(parseFactor('lro', 'true'), true);
  t.throws(() => parseFactor('bufferBytes', '2048.0'), {
    message: 'factor bufferBytes cannot be "2048.0": it is one of 4096, 2048',
  });
  t.throws(() => parseFactor('speed', '9'), /unknown factor 'speed'/);
  t.end();
});

t.test('a key that is missing or has no possible value is named', async (t) => {
  const keys = factorKeys(CONFIGURATIONS.optimised);
  await t.rejects(readFactors(from({ ...keys, path: 'tunnel' })), { message: "path is 'tunnel'" });
  await t.rejects(readFactors(from({ ...keys, lro: 'true' })), { message: "lro is 'true'" });
  delete keys['grants'];
  await t.rejects(readFactors(from(keys)), { message: 'grants is missing' });
});

t.test(
  'a sample is of one generation: a change during the reading is read again, also when it made a value bad',
  async (t) => {
    const old = { ...factorKeys(CONFIGURATIONS.baseline), generation: '1' };
    const next = { ...factorKeys(CONFIGURATIONS.direct), generation: '2' };
    for (let at = 1; at <= 8; at++) {
      for (const broken of at < 4 ? [{}, { path: 'tunnel' }] : [{}]) {
        let reads = 0;
        const read = (key: string): Promise<string | null> => {
          const keys: Record<string, string> = ++reads < at ? { ...old, ...broken } : next;
          return Promise.resolve(keys[key]);
        };
        const sample = await sampleFactors(read);
        t.same(sample, { generation: 2, factors: CONFIGURATIONS.direct, error: null }, `changed at read ${at}`);
      }
    }
  },
);

t.test('a sample says what is wrong with which generation; without a directory there is none', async (t) => {
  const keys = { ...factorKeys(CONFIGURATIONS.baseline), generation: '7', lro: '2' };
  t.same(await sampleFactors(from(keys)), { generation: 7, factors: null, error: "lro is '2'" });
  t.equal(await sampleFactors(from({})), null);
  await t.rejects(sampleFactors(from({ ...keys, generation: '-1' })), /generation is '-1'/);
});
