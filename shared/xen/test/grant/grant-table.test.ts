import t from 'tap';
import {
  GRANT_ENTRIES,
  GRANT_RESERVED_ENTRIES,
  GTF_PERMIT_ACCESS,
  GTF_READING,
  GTF_READONLY,
} from '../../src/abi/grant-table.js';
import type { DomId, Gref, Pfn } from '@grantline/base';
import { GrantTable } from '../../src/grant/grant-table.js';
import { memOver } from '@grantline/machine';

const driver = 1000 as DomId;

t.test('an entry holds flags, domid and frame where Xen puts them', (t) => {
  const mem = memOver(new ArrayBuffer(16384));
  const table = new GrantTable(mem, 0);
  table.grantAccess(9 as Gref, driver, 0x01020304 as Pfn);
  t.equal(Buffer.from(mem.u8.subarray(72, 80)).toString('hex'), '0100e80304030201');
  table.grantAccess(10 as Gref, driver, 5 as Pfn, true);
  t.equal(mem.u16[80 >> 1], GTF_PERMIT_ACCESS | GTF_READONLY);
  t.end();
});

t.test('a grant in use cannot be revoked, and can once the hypervisor has cleared its bits', (t) => {
  const mem = memOver(new ArrayBuffer(16384));
  const table = new GrantTable(mem, 0);
  const gref = table.claim() as Gref;
  table.grantAccess(gref, driver, 5 as Pfn);
  mem.u16[(gref * 8) >> 1] |= GTF_READING;
  t.equal(table.endAccess(gref), false);
  t.equal(table.inUse(gref), true);
  mem.u16[(gref * 8) >> 1] &= ~GTF_READING;
  t.equal(table.endAccess(gref), true);
  t.equal(mem.u16[(gref * 8) >> 1], 0);
  t.same([table.issued, table.revoked], [1, 1]);
  t.end();
});

t.test('the reserved entries are never handed out, and a claimed one not twice', (t) => {
  const table = new GrantTable(memOver(new ArrayBuffer(16384)), 0);
  const seen = new Set<number>();
  for (let gref = table.claim(); gref !== -1; gref = table.claim()) seen.add(gref);
  t.equal(seen.size, GRANT_ENTRIES - GRANT_RESERVED_ENTRIES);
  t.ok([...seen].every((g) => g >= GRANT_RESERVED_ENTRIES && g < GRANT_ENTRIES));
  table.release(77 as Gref);
  t.equal(table.claim(), 77);
  t.end();
});

t.test('H38: a grant that is taken into use between the look and the revocation is not revoked', (t) => {
  const mem = memOver(new ArrayBuffer(16384));
  const cas32 = mem.bulk.cas32.bind(mem.bulk);
  let looks = 0;
  mem.bulk.cas32 = (at, expected, value) => {
    // The hypervisor maps the page right after the look.
    if (looks++ === 0) mem.u16[at >> 1] |= GTF_READING;
    return cas32(at, expected, value);
  };
  const table = new GrantTable(mem, 0);
  const gref = table.claim() as Gref;
  const at = (gref * 8) >> 1;
  table.grantAccess(gref, driver, 5 as Pfn);
  t.equal(table.endAccess(gref), false);
  t.equal(mem.u16[at], GTF_PERMIT_ACCESS | GTF_READING, 'what it set stays');
  t.equal(table.revoked, 0);
  t.end();
});
