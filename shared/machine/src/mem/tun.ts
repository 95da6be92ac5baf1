/** TAP devices: an Ethernet port of the kernel whose other end is a descriptor of ours. Sources: Linux
 *  Documentation/networking/tuntap.rst, include/uapi/linux/{if_tun,if,sockios,virtio_net}.h.
 *
 *  The device lives as long as the descriptor is open, so nothing is left behind however a process ends. Whatever is done
 *  in another network namespace is done within one call: koffi's calls run on this thread, which is back before any other
 *  code runs. */
import { closeSync, constants, openSync, statSync } from 'node:fs';
import koffi from 'koffi';
import { TAP_PLACE_FORM, isTapName, netnsPath, type TapPlace } from '@grantline/base';
import { libc, socket } from './libc.js';

// Addresses go in as plain numbers: user space ends below 2^47, and a number costs least to hand over.
const ioctl = libc.func('int ioctl(int fd, unsigned long request, void *arg)');
const ioctlValue = libc.func('int ioctl(int fd, unsigned long request, unsigned long arg)');
const setns = libc.func('int setns(int fd, int nstype)');
const readAt = libc.func('int64_t read(int fd, int64_t at, size_t bytes)');
const readv = libc.func('int64_t readv(int fd, int64_t iov, int count)');
const writev = libc.func('int64_t writev(int fd, int64_t iov, int count)');

const TUNSETIFF = 0x400454ca;
const TUNSETOFFLOAD = 0x400454d0;
const TUNSETVNETHDRSZ = 0x400454d8;
const IFF_TAP = 0x0002;
const IFF_NO_PI = 0x1000;
const IFF_VNET_HDR = 0x4000;
const IFF_TUN_EXCL = 0x8000;
const IFF_TUN = 0x0001;
const IFF_MULTI_QUEUE = 0x0100;
const TUN_F_CSUM = 1;
const TUN_F_TSO4 = 2;

const SIOCGIFFLAGS = 0x8913;
const SIOCGIFADDR = 0x8915;
const SIOCGIFHWADDR = 0x8927;
const SIOCSIFFLAGS = 0x8914;
const SIOCSIFADDR = 0x8916;
const SIOCSIFNETMASK = 0x891c;
const SIOCSIFHWADDR = 0x8924;
const IFF_UP = 1;
const ARPHRD_ETHER = 1;
const AF_INET = 2;
const SOCK_DGRAM = 2;
const SOCK_CLOEXEC = 0o2000000;
const CLONE_NEWNET = 0x40000000;
const IFREQ_BYTES = 40;
const IFNAMSIZ = 16;

const EPERM = 1;
const EACCES = 13;
const EBUSY = 16;
const EINVAL = 22;

/** struct virtio_net_hdr: u8 flags, u8 gso type, u16 bytes of headers, u16 gso size, u16 csum start, u16 csum offset. */
export const VNET_BYTES = 10;
export const VNET_NEEDS_CSUM = 1;
export const VNET_GSO_NONE = 0;
export const VNET_GSO_TCPV4 = 1;
/** Largest packet that a device with offloads hands over, with its Ethernet header and two VLAN tags. */
export const TAP_PACKET_BYTES = 65535 + 14 + 8;

const TUN_PATH = '/dev/net/tun';

export interface TapOptions {
  /** At most 15 characters. */
  name: string;
  /** Network namespace as TapPlace has it; null: our own. */
  netns: string | null;
  /** Of the kernel's end, "aa:bb:..."; null: the kernel makes one up. */
  mac: string | null;
  /** A device that was there before keeps its address, whatever `mac` says: at the far end any will do. */
  keepMac?: boolean;
  /** IPv4 address of the kernel's end and its prefix length; null: none. */
  ip: { address: string; prefix: number } | null;
  /** False: without vnet header and offloads even where the kernel has them. */
  offload: boolean;
}

/** Why a device could not be made. */
export class TapError extends Error {
  override readonly name = 'TapError';
  readonly reason: 'no-tun' | 'no-right' | 'no-netns' | 'taken' | 'bad-name' | 'other';

  constructor(reason: TapError['reason'], message: string) {
    super(message);
    this.reason = reason;
  }
}

/** The user's end of a TAP device. */
export class TapDevice {
  readonly name: string;
  readonly fd: number;
  /** True when each packet has a virtio_net_hdr of VNET_BYTES before it. */
  readonly vnet: boolean;

  constructor(name: string, fd: number, vnet: boolean) {
    this.name = name;
    this.fd = fd;
    this.vnet = vnet;
  }

  /** Whether the kernel may hand over packets without checksum and up to 64 KiB long. Packets that are queued stay as
   *  they are. Without a vnet header it never does. */
  setOffload(on: boolean): void {
    if (this.vnet) ioctlValue(this.fd, TUNSETOFFLOAD, on ? TUN_F_CSUM | TUN_F_TSO4 : 0);
  }

  /** @param at address to read a packet to, vnet header first @returns bytes, or -1: none is there */
  read(at: number, bytes: number): number {
    return readAt(this.fd, at, bytes) as number;
  }

  /** As `read`, into pieces. @param iov address of a table of struct iovec */
  readv(iov: number, count: number): number {
    return readv(this.fd, iov, count) as number;
  }

  /** Writes one packet from pieces. @returns its bytes, or -1: the kernel did not take it */
  writev(iov: number, count: number): number {
    return writev(this.fd, iov, count) as number;
  }

  /** The device is gone afterwards. */
  close(): void {
    closeSync(this.fd);
  }
}

/** Makes a device, gives it its addresses and brings it up; or takes one that is there. Making needs CAP_NET_ADMIN; afterwards the
 *  descriptor needs no right.
 *  @throws TapError */
export function openTap(o: TapOptions): TapDevice {
  if (!isTapName(o.name)) throw new TapError('bad-name', `"${o.name}" is no name for a network device`);
  let fd = -1;
  let home = -1;
  try {
    if (o.netns !== null) {
      const target = openNetns(o.netns);
      home = openSync('/proc/thread-self/ns/net', 'r');
      const entered = setns(target, CLONE_NEWNET) as number;
      const errno = koffi.errno();
      closeSync(target);
      if (errno === EINVAL && entered !== 0) throw noNetns(o.netns);
      if (entered !== 0) throw refused(errno, `cannot enter the network namespace ${o.netns}`);
    }
    // A device is made in the namespace that the file was opened in.
    fd = openOr(TUN_PATH, constants.O_RDWR | constants.O_NONBLOCK, 'no-tun', `cannot open ${TUN_PATH}`);
    const found = exists(o.name);
    const vnet = found ? attach(fd, o) : create(fd, o);
    if (found) adopt(o);
    else configure(o);
    const tap = new TapDevice(o.name, fd, vnet);
    tap.setOffload(o.offload);
    return tap;
  } catch (error) {
    if (fd >= 0) closeSync(fd);
    throw error;
  } finally {
    if (home >= 0) {
      const back = setns(home, CLONE_NEWNET) as number;
      closeSync(home);
      // Going on in the wrong namespace would put everything after this in the wrong place.
      if (back !== 0) process.abort();
    }
  }
}

const noNetns = (netns: string): TapError => new TapError('no-netns', `${netnsPath(netns)} is no network namespace`);

/** Whatever the user named: a pipe or a device is not even opened. */
function openNetns(netns: string): number {
  const path = netnsPath(netns);
  const missing = netns.startsWith('pid:')
    ? `there is no process ${netns.slice(4)}, or it has ended`
    : `there is no network namespace ${path}`;
  let isFile = true;
  try {
    isFile = statSync(path).isFile();
  } catch {
    // Opening it tells why.
  }
  if (!isFile) throw noNetns(netns);
  return openOr(path, constants.O_RDONLY | constants.O_NONBLOCK, 'no-netns', missing);
}

/** @returns true when there is a network device of that name in this namespace */
function exists(name: string): boolean {
  return onSocket((s) => (ioctl(s, SIOCGIFFLAGS, ifreq(name)) as number) === 0);
}

function onSocket<T>(use: (s: number) => T): T {
  const s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0) as number;
  if (s < 0) throw refused(koffi.errno(), 'no socket');
  try {
    return use(s);
  } finally {
    closeSync(s);
  }
}

/** Takes a device that somebody made for us (`ip tuntap add dev NAME mode tap user US`): no right is needed but to open
 *  /dev/net/tun, and it stays when we go. */
function attach(fd: number, o: TapOptions): boolean {
  const request = ifreq(o.name);
  const asks = (flags: number): number => {
    request.writeUInt16LE(flags | IFF_NO_PI, IFNAMSIZ);
    return (ioctl(fd, TUNSETIFF, request) as number) === 0 ? 0 : koffi.errno();
  };
  let vnet = o.offload;
  const errno = asks(vnet ? IFF_TAP | IFF_VNET_HDR : IFF_TAP);
  if (errno === EPERM || errno === EACCES)
    throw new TapError('no-right', `the device ${o.name} is there, and is another user's`);
  if (errno === EBUSY) throw new TapError('taken', `the device ${o.name} is there, and another process has it`);
  if (errno === EINVAL) {
    const several = asks(IFF_TAP | IFF_MULTI_QUEUE);
    if (several === 0 || several === EBUSY)
      throw new TapError('taken', `the device ${o.name} is there, and has several queues (multi_queue)`);
    const tun = asks(IFF_TUN);
    const what = tun === 0 || tun === EBUSY ? 'is a TUN device, without Ethernet' : 'is no TAP device';
    throw new TapError('taken', `the device ${o.name} is there, and ${what}`);
  }
  if (errno !== 0) throw refused(errno, `cannot take the TAP device ${o.name}`);
  if (vnet) vnet = setVnetBytes(fd);
  return vnet;
}

/** Leaves a found device as it is, but for what it is of no use without. Who may not set that is told how to. */
function adopt(o: TapOptions): void {
  onSocket((s) => {
    const r = ifreq(o.name);
    ioctl(s, SIOCGIFHWADDR, r);
    const has = r.toString('hex', IFNAMSIZ + 2, IFNAMSIZ + 8).replace(/..(?=.)/g, '$&:');
    const differs = o.mac !== null && o.keepMac !== true && has !== o.mac.toLowerCase();
    const isUp = (ioctl(s, SIOCGIFFLAGS, r) as number) === 0 && (r.readUInt16LE(IFNAMSIZ) & IFF_UP) !== 0;
    const hasIp = (ioctl(s, SIOCGIFADDR, ifreq(o.name)) as number) === 0;
    const mac = differs ? o.mac : null;
    // A test of whether it can be had looks at nothing else.
    if (o.mac === null && o.ip === null) return;
    try {
      if (differs || !isUp || !hasIp) configure({ ...o, mac, ip: hasIp ? null : o.ip });
    } catch (error) {
      if (!(error instanceof TapError) || error.reason !== 'no-right') throw error;
      if (differs)
        throw new TapError('no-right', `${o.name} has the MAC address ${has}; ip link set ${o.name} address ${o.mac}`);
      if (!isUp) throw new TapError('no-right', `${o.name} is down; ip link set ${o.name} up`);
    }
  });
}

function setVnetBytes(fd: number): boolean {
  const size = Buffer.alloc(4);
  size.writeInt32LE(VNET_BYTES);
  if ((ioctl(fd, TUNSETVNETHDRSZ, size) as number) !== 0) throw refused(koffi.errno(), 'no vnet header of 10 bytes');
  return true;
}

function create(fd: number, o: TapOptions): boolean {
  const flags = IFF_TAP | IFF_NO_PI | IFF_TUN_EXCL;
  const request = ifreq(o.name);
  let vnet = o.offload;
  request.writeUInt16LE(vnet ? flags | IFF_VNET_HDR : flags, IFNAMSIZ);
  let status = ioctl(fd, TUNSETIFF, request) as number;
  if (status !== 0 && vnet && koffi.errno() === EINVAL) {
    vnet = false;
    request.writeUInt16LE(flags, IFNAMSIZ);
    status = ioctl(fd, TUNSETIFF, request) as number;
  }
  if (status !== 0) throw refused(koffi.errno(), `cannot make the TAP device ${o.name}`);
  if (vnet) setVnetBytes(fd);
  return vnet;
}

function configure({ name, mac, ip }: TapOptions): void {
  onSocket((s) => {
    const set = (request: number, fill: (r: Buffer) => void, what: string): void => {
      const r = ifreq(name);
      fill(r);
      if ((ioctl(s, request, r) as number) !== 0) throw refused(koffi.errno(), `cannot set the ${what} of ${name}`);
    };
    const setMac = (r: Buffer): void => {
      r.writeUInt16LE(ARPHRD_ETHER, IFNAMSIZ);
      Buffer.from(mac!.replaceAll(':', ''), 'hex').copy(r, IFNAMSIZ + 2);
    };
    if (mac !== null) set(SIOCSIFHWADDR, setMac, 'MAC address');
    if (ip !== null) {
      const mask = (0xffffffff << (32 - ip.prefix)) >>> 0;
      const netmask = [mask >>> 24, (mask >>> 16) & 255, (mask >>> 8) & 255, mask & 255];
      set(SIOCSIFADDR, (r) => inet(r, ip.address.split('.').map(Number)), 'IP address');
      set(SIOCSIFNETMASK, (r) => inet(r, netmask), 'netmask');
    }
    const r = ifreq(name);
    ioctl(s, SIOCGIFFLAGS, r);
    const flags = r.readUInt16LE(IFNAMSIZ);
    set(SIOCSIFFLAGS, (up) => up.writeUInt16LE(flags | IFF_UP, IFNAMSIZ), 'state');
  });
}

function ifreq(name: string): Buffer {
  const r = Buffer.alloc(IFREQ_BYTES);
  r.write(name, 'latin1');
  return r;
}

function inet(r: Buffer, bytes: readonly number[]): void {
  r.writeUInt16LE(AF_INET, IFNAMSIZ);
  for (let i = 0; i < 4; i++) r[IFNAMSIZ + 4 + i] = bytes[i];
}

function openOr(path: string, flags: number, missing: 'no-tun' | 'no-netns', what: string): number {
  try {
    return openSync(path, flags);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EACCES' || code === 'EPERM') throw new TapError('no-right', `${what} (${code})`);
    throw new TapError(missing, `${what} (${code ?? String(error)})`);
  }
}

function refused(errno: number, what: string): TapError {
  if (errno === EPERM || errno === EACCES) return new TapError('no-right', `${what}: not permitted`);
  if (errno === EBUSY) return new TapError('taken', `${what}: a device of that name is there`);
  return new TapError('other', `${what} (errno ${errno})`);
}

/** Why a device cannot be had: what is wrong and what to do about it, without a colon in either. */
interface TapRefusal {
  what: string;
  todo: string;
}

/** @returns null: not the user's to mend */
export function tapRefusal(error: unknown, place: TapPlace): TapRefusal | null {
  if (!(error instanceof TapError)) return null;
  const todo: Record<TapError['reason'], string> = {
    'no-tun': 'load the module with modprobe tun, or give the container the device with --device /dev/net/tun',
    'no-right': 'run as root, or with CAP_NET_ADMIN and the right to open /dev/net/tun',
    'no-netns': /^\/|^pid:/.test(place.netns ?? '')
      ? 'give a namespace by its name, its path (/proc/PID/ns/net) or as pid:N, or leave it away'
      : `make it with ip netns add ${place.netns ?? 'NAME'}, or leave it away`,
    taken: 'choose another name, or end whoever has it',
    'bad-name': `give ${TAP_PLACE_FORM.replace(':', ',')}`,
    other: 'see whether ip tuntap add works for that name',
  };
  return { what: error.message, todo: todo[error.reason] };
}

/** Tries whether a device can be made, and leaves nothing. @returns what is in the way, or null */
export function tryTap(place: TapPlace): TapRefusal | null {
  try {
    openTap({ ...place, mac: null, ip: null, offload: true }).close();
    return null;
  } catch (error) {
    const refusal = tapRefusal(error, place);
    if (refusal === null) throw error;
    return refusal;
  }
}

/** @throws what `fail` makes of a refusal, for what the user can mend */
export function openTapOr(options: TapOptions, fail: (refusal: TapRefusal) => Error): TapDevice {
  try {
    return openTap(options);
  } catch (error) {
    const refusal = tapRefusal(error, options);
    throw refusal === null ? error : fail(refusal);
  }
}
