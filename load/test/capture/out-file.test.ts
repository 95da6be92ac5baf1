import t from 'tap';
import { once } from 'node:events';
import { OutFile } from '../../src/capture/out-file.js';

const BYTES = 1 << 20;

t.test('who fetches a capture gets all of it, also when the next one begins meanwhile', async (t) => {
  const first = OutFile.unnamed();
  first.add(Buffer.alloc(BYTES, 'a'));
  first.flush();
  const stream = first.read();
  const got: Buffer[] = [];
  await once(stream, 'readable');
  got.push(stream.read(1000) as Buffer);
  first.drop();
  // It takes the number of the descriptor that has just been closed.
  const next = OutFile.unnamed();
  t.teardown(() => next.drop());
  next.add(Buffer.alloc(BYTES, 'b'));
  next.flush();
  for await (const chunk of stream) got.push(chunk as Buffer);
  const all = Buffer.concat(got);
  t.equal(all.length, BYTES);
  t.equal(all.indexOf('b'), -1, 'nothing of another file');
});

t.test('an empty capture can be fetched', async (t) => {
  const file = OutFile.unnamed();
  t.teardown(() => file.drop());
  let bytes = 0;
  for await (const chunk of file.read()) bytes += (chunk as Buffer).length;
  t.equal(bytes, 0);
});
