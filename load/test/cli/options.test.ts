import { planOf, type CompareArguments } from '../../src/cli/compare-plan.js';
import t, { type Test } from 'tap';
import { UserError } from '../../src/base/errors.js';
import { parseListen, parseRepeat, parseSeconds, parseVif } from '../../src/base/option-values.js';
import * as o from '../../src/cli/options.js';
import { lineRate, meanFrameBytes } from '../../src/base/stats.js';

const refuses = (t: Test, f: () => unknown, what: RegExp): void => {
  try {
    f();
    t.fail('accepted');
  } catch (error) {
    t.ok(error instanceof UserError);
    t.match((error as Error).message, what);
    t.match((error as Error).message, / - /, 'says what to do');
    t.notMatch((error as Error).message, /\n/, 'is one line');
  }
};

t.test('numbers out of range, with signs, exponents or spaces are refused', (t) => {
  for (const bad of ['0', '33', '-1', '1.5', '', 'x', '1e1', '0x2', ' 2'])
    refuses(t, () => o.parseGuests(bad), /guests/);
  t.equal(o.parseGuests('32'), 32);
  for (const bad of ['0', '0.05', '-3', 'x', 'Infinity']) refuses(t, () => parseSeconds(bad), /seconds/);
  t.equal(parseSeconds('0.5'), 0.5);
  for (const bad of ['0', '101', '2.5']) refuses(t, () => parseRepeat(bad), /repeat/);
  t.end();
});

t.test('frame sizes run from 60 to 9014 or are imix', (t) => {
  for (const bad of ['59', '9015', '1514.5', 'jumbo', '']) refuses(t, () => o.parseFrame(bad), /frame size/);
  t.same(o.parseFrame('60'), [60]);
  t.same(o.parseFrame('9014'), [9014]);
  t.same(o.parseFrame('imix'), [60, 566, 1514]);
  t.end();
});

t.test('a link of 0 is refused; max is no limit; only speeds that there are are taken', (t) => {
  for (const bad of ['0', '0.0', '-10', '2.5', 'fast', '']) refuses(t, () => o.parseLink(bad), /link/);
  t.equal(o.parseLink('max'), null);
  t.equal(o.parseLink('25'), 25);
  t.end();
});

t.test('unknown configurations and factors are refused with a list of the known ones', (t) => {
  refuses(
    t,
    () => o.parseConfigs('baseline,fast'),
    /"fast".*baseline, multiqueue, grant-reuse, optimised, direct, native/,
  );
  refuses(t, () => o.parseConfigs('baseline,baseline'), /twice/);
  refuses(t, () => o.parseConfigs(''), /unknown configuration/);
  refuses(t, () => o.parseConfigs('toString'), /unknown configuration/);
  refuses(
    t,
    () => o.parseSets(['speed=9'], 'optimised'),
    /"speed".*path, nicQueues, grants, bufferBytes, lro, batching, tso/,
  );
  refuses(t, () => o.parseSets(['lro=maybe'], 'optimised'), /false, true/);
  refuses(t, () => o.parseSets(['lro'], 'optimised'), /factor=value/);
  refuses(t, () => o.parseSets(['lro=true', 'lro=false'], 'optimised'), /"lro" is set twice/);
  refuses(t, () => o.parseSets(['lro=true'], 'best'), /unknown configuration/);
  refuses(t, () => o.parseFaultsOption('loss=0.1,seed=2,loss=0.2'), /loss is named twice/);
  refuses(t, () => o.parseFaultsOption('loss=0.1=0.2'), /loss must be a probability/);
  t.end();
});

t.test('--set changes only the factors named, on a copy of the base', (t) => {
  const custom = o.parseSets(['lro=false', 'bufferBytes=4096'], 'optimised');
  t.same(custom, {
    name: 'custom',
    factors: {
      path: 'split',
      nicQueues: 'per-guest',
      grants: 'reuse',
      bufferBytes: 4096,
      lro: false,
      batching: true,
      tso: true,
    },
  });
  t.equal(o.parseConfig('optimised').factors.lro, true);
  t.end();
});

t.test('pace, map, listen and vif names are read strictly', (t) => {
  t.equal(o.parsePace('recorded'), 1);
  t.equal(o.parsePace('max'), 0);
  t.equal(o.parsePace('2.5'), 2.5);
  for (const bad of ['0', 'slow', '-1']) refuses(t, () => o.parsePace(bad), /pace/);
  t.same(o.parseMap('3A:fd:14:79:39:02=guest2'), { mac: '3a:fd:14:79:39:02', guest: 2 });
  for (const bad of ['3a:fd:14:79:39:02', '3a:fd:14:79:39=guest1', '3a:fd:14:79:39:02=2'])
    refuses(t, () => o.parseMap(bad), /--map/);
  refuses(t, () => o.parseMap('ff:ff:ff:ff:ff:ff=guest1'), /group/);
  refuses(t, () => o.parseMap('3a:fd:14:79:39:02=guest0'), /guest/);
  t.same(parseListen('127.0.0.1:7600'), { host: '127.0.0.1', port: 7600 });
  t.same(parseListen('[::1]:0'), { host: '::1', port: 0 });
  for (const bad of ['7600', 'host:', 'host:70000', ':80']) refuses(t, () => parseListen(bad), /HOST:PORT/);
  t.same(parseVif('vif12.0'), { guest: 12, device: 0 });
  for (const bad of ['vif1', 'eth0', 'vif1.0.0']) refuses(t, () => parseVif(bad), /vif/);
  t.end();
});

t.test('10 Gb/s carries 812,743 frames of 1514 bytes and 14,880,952 of 60', (t) => {
  t.equal(Math.floor(lineRate(10, 1514)), 812743);
  t.equal(Math.floor(lineRate(10, 60)), 14880952);
  t.equal(meanFrameBytes([1514]), 1514);
  t.equal(Math.round(meanFrameBytes([60, 566, 1514]) * 10) / 10, 349.8);
  t.end();
});

const typed: CompareArguments = {
  ...{
    workload: 'load',
    set: [],
    seconds: '3',
    warmup: '1',
    link: 'max',
    pause: true,
    pin: true,
    repeat: '1',
    seed: '1',
  },
};

t.test('an option that a workload does not take is refused, not passed over', (t) => {
  const refused: [Partial<CompareArguments>, RegExp][] = [
    [{ rate: '100' }, /--rate is not for the workload load - leave it out, or take --workload rr/],
    [{ inflight: '4' }, /--inflight is not for/],
    [{ beside: 'idle' }, /--beside is not for/],
    [{ workload: 'tcp', frame: '60' }, /--frame is not for the workload tcp/],
    [{ workload: 'tcp', protocol: 'udp' }, /--protocol is not for/],
    [{ workload: 'rr', direction: 'tx' }, /--direction is not for the workload rr/],
    [{ workload: 'guest-to-guest', direction: 'both' }, /--direction is not for/],
    [{ workload: 'guest-to-guest', guests: '1' }, /one guest has none to send to/],
    [{ workload: 'guest-to-guest', set: ['path=native'] }, /custom has no guests/],
    [{ workload: 'tcp', set: ['path=native'] }, /in native nothing of the guest/],
    [{ base: 'baseline' }, /--base is given and --set is not/],
  ];
  for (const [args, what] of refused)
    t.throws(() => planOf({ ...typed, ...args }), { name: 'UserError', message: what }, JSON.stringify(args));
  t.equal(planOf({ ...typed, workload: 'guest-to-guest' }).settings.guests, 2);
  t.equal(planOf({ ...typed, workload: 'tcp' }).configs.length, 5, 'native is left out where nobody asked for it');
  t.equal(planOf({ ...typed, workload: 'rr', rate: '100', inflight: '4' }).series.length, 2);
  t.end();
});
