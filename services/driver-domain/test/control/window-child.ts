/** Reads one byte of a window page: argv is 'mapped', 'unmapped' or 'guard'. Not a test itself. */
import { writeSync } from 'node:fs';
import { type DomId, type Pfn, PAGE_SIZE } from '@grantline/base';
import { GrantWindow, PeerMemory } from '../../src/control/window.js';
import { AddressSpace, makeMemory } from '@grantline/machine';

const what = process.argv[2];
const ONE = 1 as DomId;
const memory = makeMemory('test', 4 * PAGE_SIZE);
writeSync(memory, Buffer.alloc(PAGE_SIZE, 3), 0, PAGE_SIZE, 2 * PAGE_SIZE);
const peers = new PeerMemory({ descriptor: () => Promise.resolve(memory) });
await peers.open(ONE);
const space = new AddressSpace(1 << 20);
const window = new GrantWindow(space, peers, 4);
const offset = window.take();
window.mapAt(offset, ONE, 2 as Pfn, true);
if (what === 'unmapped') window.unmap(offset);
const at = what === 'guard' ? offset - PAGE_SIZE : offset;
process.stdout.write(`read ${space.mem.u8[at]}\n`);
