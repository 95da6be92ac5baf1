import t from 'tap';
import { parseIp } from '../src/headers.js';
import { GivenAddresses, type SourceRule } from '../src/sender-rule.js';
import { memOver } from '@grantline/machine';

const ME = [0, 0x16, 0x3e, 0, 0, 1];
const OTHER = [0, 0x16, 0x3e, 0, 0, 2];
const STRANGER = [2, 7, 7, 7, 7, 7];
const BROADCAST = [255, 255, 255, 255, 255, 255];
const TO = [0, 0x16, 0x3e, 0, 0, 3];
const GATEWAY = [2, 0, 0, 0xca, 0xb1, 0xe1];
const text = (mac: number[]): string => mac.map((b) => b.toString(16).padStart(2, '0')).join(':');
const MY_IP = [10, 77, 0, 1];
const OTHER_IP = [10, 77, 0, 2];
const GATEWAY_IP = [10, 77, 255, 254];
const FOREIGN_IP = [192, 168, 5, 5];
const be16 = (n: number): number[] => [n >> 8, n & 255];

const ipv4 = (src: number[]): number[] => [
  0x45,
  0,
  0,
  40,
  0,
  0,
  0,
  0,
  64,
  17,
  0,
  0,
  ...src,
  10,
  77,
  0,
  3,
  ...zeros(20),
];
const arp = (sha: number[], spa: number[], op = 2): number[] => [
  ...[0, 1, 8, 0, 6, 4, 0, op, ...sha, ...spa, ...TO, 10, 77, 0, 3],
];
const zeros = (n: number): number[] => new Array<number>(n).fill(0);
const eth = (type: number, l3: number[], src = ME, dst = TO): number[] => [...dst, ...src, ...be16(type), ...l3];
let vlan = 100;
const tag = (tpid: number, rest: number[]): number[] => [...be16(tpid), ...be16(vlan), ...rest];
/** A frame whose type and payload stand behind these tags. */
const tagged = (tpids: number[], type: number, l3: number[]): number[] => [
  ...TO,
  ...ME,
  ...tpids.reduceRight((inner, tpid) => tag(tpid, inner), [...be16(type), ...l3]),
];

const LL = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 2, 0x16, 0x3e, 0xff, 0xfe, 0, 0, 1];
const OTHER_LL = [...LL.slice(0, 15), 2];
const ipv6 = (src: number[], next: number, payload: number[]): number[] => [
  ...[0x60, 0, 0, 0, ...be16(payload.length), next, 255, ...src, ...OTHER_LL, ...payload],
];
const nd = (type: number, target: number[] | null, option: number[] = []): number[] => [
  ...[type, 0, 0, 0, 0, 0, 0, 0, ...(target ?? []), ...option],
];

function make(): { rule: SourceRule; given: GivenAddresses; ask: (frame: number[], bytes?: number) => boolean } {
  const mem = memOver(new ArrayBuffer(4096));
  const given = new GivenAddresses(mem);
  const rule = given.add(text(ME), MY_IP.join('.'));
  given.add(text(OTHER), OTHER_IP.join('.'));
  let at = 2;
  // Frames begin at any even place.
  const ask = (frame: number[], bytes = frame.length): boolean => {
    at = at === 2 ? 64 : 2;
    mem.u8.fill(0, at, at + 200);
    mem.u8.set(frame, at);
    return rule.allows(at, bytes);
  };
  return { rule, given, ask };
}

t.test('H16 Ethernet, ARP and IPv4 sources are those that the toolstack gave, under whatever tags', (t) => {
  const { ask } = make();
  t.ok(ask(eth(0x800, ipv4(MY_IP))));
  t.notOk(ask(eth(0x800, ipv4(MY_IP), OTHER)), 'Ethernet source');
  t.notOk(ask(eth(0x88b5, zeros(46), STRANGER)), 'of any protocol');
  t.ok(ask(eth(0x88b5, zeros(46))));
  for (const ip of [OTHER_IP, GATEWAY_IP, FOREIGN_IP]) {
    t.notOk(ask(eth(0x800, ipv4(ip))), `IPv4 from ${ip.join('.')}`);
    t.notOk(ask(eth(0x806, arp(ME, ip))), `ARP for ${ip.join('.')}`);
    t.notOk(ask(eth(0x806, arp(ME, ip, 1), ME, BROADCAST)), 'gratuitous');
    t.notOk(ask(eth(0x8035, arp(ME, ip, 4))), 'RARP');
    for (const tpids of [[0x8100], [0x88a8], [0x9100], [0x88a8, 0x8100], [0x8100, 0x8100]]) {
      for (vlan of [0x6000, 100]) {
        // In a VLAN, number 0 being none, any address that is nobody's may be used.
        const may = vlan === 100 && ip === FOREIGN_IP;
        t.equal(ask(tagged(tpids, 0x800, ipv4(ip))), may, `IPv4 behind ${tpids.map((n) => n.toString(16)).join(' ')}`);
        t.equal(ask(tagged(tpids, 0x806, arp(ME, ip))), may);
        t.notOk(ask(tagged(tpids, 0x806, arp(OTHER, ip))));
        t.ok(ask(tagged(tpids, 0x800, ipv4(MY_IP))));
        t.ok(ask(tagged(tpids, 0x806, arp(ME, MY_IP))));
      }
    }
  }
  t.notOk(ask(eth(0x806, arp(OTHER, MY_IP))), 'a sender that is elsewhere');
  t.ok(ask(eth(0x806, arp(ME, MY_IP, 1), ME, BROADCAST)), 'gratuitous for the own address');
  t.ok(ask(eth(0x806, arp(ME, [0, 0, 0, 0], 1), ME, BROADCAST)), 'a probe');
  t.notOk(ask(tagged([0x8100, 0x8100, 0x8100], 0x800, ipv4(MY_IP))), 'behind three tags nobody looks');
  t.end();
});

t.test('H16 who has no address yet may ask all for one, and sends nothing else', (t) => {
  const { ask } = make();
  t.ok(ask(eth(0x800, ipv4([0, 0, 0, 0]), ME, BROADCAST)));
  t.notOk(ask(eth(0x800, ipv4([0, 0, 0, 0]))));
  t.end();
});

t.test('H16 IPv4 and ARP in LLC or SNAP, cut short or with odd lengths are no way round', (t) => {
  const { ask } = make();
  const snap = (oui: number[], type: number, l3: number[]): number[] =>
    eth(60, [0xaa, 0xaa, 3, ...oui, ...be16(type), ...l3]);
  t.notOk(ask(snap([0, 0, 0], 0x800, ipv4(OTHER_IP))));
  t.notOk(ask(snap([0, 0, 0xf8], 0x806, arp(ME, OTHER_IP))));
  t.notOk(ask(snap([0, 0, 0], 0x8100, [0, 1, 8, 0, ...ipv4(OTHER_IP)])), 'a tag inside');
  t.ok(ask(snap([0, 0, 0], 0x800, ipv4(MY_IP))));
  t.ok(ask(snap([0, 0, 0x0c], 0x2000, zeros(30))), "another organisation's protocol");
  t.notOk(ask(eth(60, [6, 6, 3, ...ipv4(OTHER_IP)])), 'IPv4 straight in LLC');
  t.ok(ask(eth(38, [0x42, 0x42, 3, ...zeros(35)])), 'spanning tree');
  t.notOk(ask(eth(0x800, ipv4(MY_IP)), 33), 'half an IPv4 header');
  t.notOk(ask(eth(0x806, arp(ME, MY_IP)), 40), 'half an ARP packet');
  const odd = arp(ME, OTHER_IP);
  odd[4] = 8;
  t.notOk(ask(eth(0x806, odd)), 'ARP with other lengths');
  t.notOk(ask(eth(0x800, []), 14));
  t.ok(ask(eth(0x88b5, []), 14));
  t.end();
});

t.test('H16 of IPv6 a guest has the link-local address that follows from its MAC, and claims no other', (t) => {
  const { ask } = make();
  const none = zeros(16);
  const mine = [1, 1, ...ME];
  const theirs = [2, 1, ...OTHER];
  const v6 = (src: number[], next: number, payload: number[]): boolean => ask(eth(0x86dd, ipv6(src, next, payload)));
  t.ok(v6(LL, 17, zeros(20)));
  t.notOk(v6(OTHER_LL, 17, zeros(20)));
  t.notOk(v6([0xfd, 0, ...zeros(13), 1], 17, zeros(20)));
  t.ok(v6(none, 0, [58, 0, 5, 2, 0, 0, 1, 0, 143, 0, ...zeros(26)]), 'a multicast report behind a router alert');
  t.ok(v6(none, 58, nd(135, OTHER_LL)), 'a solicitation for whatever address');
  t.ok(v6(LL, 58, nd(135, OTHER_LL, mine)));
  t.notOk(v6(LL, 58, nd(135, OTHER_LL, [1, 1, ...OTHER])), 'that names another MAC address');
  t.ok(v6(LL, 58, nd(133, null, mine)));
  t.ok(v6(LL, 58, nd(136, LL, [2, 1, ...ME])));
  t.notOk(v6(LL, 58, nd(136, OTHER_LL, [2, 1, ...ME])), "an advertisement of another's address");
  t.notOk(v6(LL, 58, nd(136, LL, theirs)));
  t.notOk(v6(LL, 58, nd(134, null, mine)), 'a router');
  t.notOk(v6(LL, 58, nd(137, LL)), 'a redirect');
  for (const next of [43, 51, 60]) t.notOk(v6(LL, next, [58, 0, ...zeros(6), ...nd(134, null)]), 'hidden');
  t.notOk(v6(LL, 44, [58, 0, ...zeros(6), ...nd(134, null)]), 'in a fragment');
  t.end();
});

t.test("H16 nested: any address that is nobody else's, and none that is", (t) => {
  const { ask, rule, given } = make();
  rule.nested = true;
  t.ok(ask(eth(0x800, ipv4(MY_IP))));
  t.ok(ask(eth(0x800, ipv4(FOREIGN_IP), STRANGER)));
  t.ok(ask(eth(0x806, arp(STRANGER, FOREIGN_IP), STRANGER)));
  t.ok(ask(eth(0x86dd, ipv6(OTHER_LL, 17, zeros(20)), STRANGER)));
  for (const mac of [OTHER, GATEWAY, BROADCAST, zeros(6)]) {
    t.notOk(ask(eth(0x800, ipv4(FOREIGN_IP), mac)), text(mac));
    t.notOk(ask(eth(0x806, arp(mac, FOREIGN_IP), STRANGER)));
  }
  for (const ip of [OTHER_IP, GATEWAY_IP]) {
    t.notOk(ask(eth(0x800, ipv4(ip), STRANGER)));
    t.notOk(ask(eth(0x806, arp(STRANGER, ip), STRANGER)));
  }
  const other = given.ruleOf({ hi: 0x0016, lo: 0x3e000002 })!;
  t.equal(other.ip, parseIp(OTHER_IP.join('.')));
  given.remove(other);
  t.ok(ask(eth(0x800, ipv4(OTHER_IP), OTHER)), 'its owner is gone');
  t.end();
});
