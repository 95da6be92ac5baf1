/** Prometheus' own opinion of the shipped configuration and rules. Skips where there is no promtool. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { parse } from 'yaml';
import { shippedRules } from './contract.js';
import { embeddedConfig, PROMETHEUS_DIR } from '../src/shipped.js';

const promtool = (...args: string[]): { status: number | null; said: string } => {
  const done = spawnSync('promtool', args, { encoding: 'utf8' });
  return { status: done.status, said: `${done.stdout}${done.stderr}` };
};
const skip = spawnSync('promtool', ['--version']).error ? 'promtool is not installed' : false;
const files = (folder: string): string[] => {
  const dir = join(PROMETHEUS_DIR, folder);
  return readdirSync(dir).map((name) => join(dir, name));
};

t.test('promtool accepts configuration and rules', { skip }, (t) => {
  const config = promtool('check', 'config', join(PROMETHEUS_DIR, 'prometheus.yml'));
  t.equal(config.status, 0, config.said);
  const rules = promtool('check', 'rules', '--lint=all', '--lint-fatal', ...files('rules'));
  t.equal(rules.status, 0, rules.said);
  t.end();
});

t.test('the configuration for a testbed without containers differs in address and paths only', { skip }, (t) => {
  const home = `/dev/shm/grantline-test-${process.pid}-promtool`;
  mkdirSync(home, { recursive: true });
  t.teardown(() => rmSync(home, { recursive: true, force: true }));
  const path = join(home, 'prometheus.yml');
  writeFileSync(path, embeddedConfig('127.0.0.1:7777', '127.0.0.1:7778'));
  const checked = promtool('check', 'config', path);
  t.equal(checked.status, 0, checked.said);
  t.match(checked.said, /3 rule files found/, 'the rules are found from there');
  const shipped = readFileSync(join(PROMETHEUS_DIR, 'prometheus.yml'), 'utf8');
  const there = parse(readFileSync(path, 'utf8')) as Record<string, unknown>;
  const moved = shipped.replace('hypervisor:7600', '127.0.0.1:7777').replace('experimenter:7680', '127.0.0.1:7778');
  const here = parse(moved) as Record<string, unknown>;
  delete there['rule_files'];
  delete here['rule_files'];
  t.same(there, here);
  t.end();
});

t.test('unit tests of the rules pass, and there is one for every rule', { skip }, (t) => {
  const tests = files('tests');
  const done = promtool('test', 'rules', ...tests);
  t.equal(done.status, 0, done.said);
  const text = tests.map((file) => readFileSync(file, 'utf8')).join('\n');
  const untested = shippedRules()
    .map(({ rule }) => rule.record ?? rule.alert ?? '')
    .filter((name) => !text.includes(name));
  t.same(untested, []);
  t.end();
});
