/** Reads one byte of a window page: argv is the directory and 'mapped', 'unmapped' or 'guard'. Not a test itself. */
import type { DomId, Pfn } from '../src/abi/page.js';
import { PAGE_SIZE } from '../src/abi/page.js';
import { GrantWindow } from '../src/grant/window.js';
import { AddressSpace } from '../src/mem/address-space.js';

const [dir, what] = process.argv.slice(2) as [string, string];
const space = new AddressSpace(1 << 20);
const window = new GrantWindow(space, (domid) => `${dir}/domain/${domid}/memory`, 4);
const offset = window.map(1 as DomId, 2 as Pfn);
if (what === 'unmapped') window.unmap(offset);
const at = what === 'guard' ? offset - PAGE_SIZE : offset;
process.stdout.write(`read ${space.mem.u8[at]}\n`);
