import t from 'tap';
import { execFileSync } from 'node:child_process';

/** Bytes of the space for new objects after many of them were made and some kept for a while. */
function newSpaceBytes(first: string): number {
  const code = `
    ${first}
    const kept = [];
    for (let i = 0; i < 3e6; i++) kept[i % 200000] = { i };
    const { getHeapSpaceStatistics } = await import('node:v8');
    console.log(getHeapSpaceStatistics().find((s) => s.space_name === 'new_space').space_size);`;
  return Number(execFileSync(process.execPath, ['--input-type=module', '-e', code], { encoding: 'utf8' }));
}

t.test('the space for new objects stays small in the hypervisor', (t) => {
  const module = new URL('../src/small-heap.js', import.meta.url).href;
  t.ok(newSpaceBytes('') > 8 << 20, 'it would grow: else this test shows nothing');
  t.ok(newSpaceBytes(`await import(${JSON.stringify(module)});`) <= 4 << 20);
  t.end();
});
