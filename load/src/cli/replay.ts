/** grantline replay: a real capture through the path, and proof that it arrived byte for byte. */
import { join, relative, resolve } from 'node:path';
import type { Command } from 'commander';
import { CaptureError, type Capture, parseCapture } from '@grantline/observe';
import { ETH_MAX_FRAME } from '@grantline/frames';
import { beginResults, fileHead, writeJson } from '../report/results.js';
import { mappingsOf, stationsOf, tooLarge } from '../runner/replay-expected.js';
import type { Bed } from '../runner/bed.js';
import { replayOnce, type ReplayResult } from '../runner/replay.js';
import { RunError, UserError } from '../base/errors.js';
import { DIR_OPTION, parseConfig, parseGuests, parseLoops, parseMap, parsePace, type MacRule } from './options.js';
import { chooseTarget, HYPERVISOR_OPTION, TOKEN_OPTION, onTestbed, type RemoteArguments } from './remote.js';
import { readUpTo } from '../base/user-file.js';

interface ReplayArguments extends RemoteArguments {
  pace: string;
  loops: string;
  config: string;
  guests: string;
  map: string[];
  json?: string;
  dir?: string;
}

/** Captures are kept whole in memory by reader, NIC and guests. */
const MAX_CAPTURE_BYTES = 512 << 20;

export function addReplay(command: Command): void {
  command
    .option('--pace <pace>', 'recorded, max, or a factor such as 2.5', 'recorded')
    .option('--loops <n>', 'how often it is sent', '1')
    .option('--config <name>', 'configuration', 'optimised')
    .option('--guests <n>', '1 to 32', '1')
    .option(
      '--map <mac=guestN>',
      'frames for this address go to this guest; can be given several times (default: addresses to guests in turn)',
      (value: string, all: string[]) => [...all, value],
      [],
    )
    .option('--json <file>', 'write the result here too')
    .option(...HYPERVISOR_OPTION)
    .option(...TOKEN_OPTION)
    .option(...DIR_OPTION)
    .action(replay);
}

async function replay(file: string, args: ReplayArguments): Promise<void> {
  const guests = parseGuests(args.guests);
  const pace = parsePace(args.pace);
  const loops = parseLoops(args.loops);
  const config = parseConfig(args.config);
  if (config.factors.path === 'native') {
    throw new UserError(
      'replay needs guests, and native has its application in the driver domain',
      'choose another configuration',
    );
  }
  const rules = args.map.map(parseMap);
  checkRules(rules, guests);
  // Before the capture, which may be standard input, is read.
  const { json, host, dir, logDir, progress } = beginResults(args.json);
  const capture = readCapture(file);
  const large = tooLarge(capture, guests, rules, loops);
  if (large !== null)
    throw new UserError(
      `${file} is too large: ${large}`,
      'cut a part out with editcap or tcpdump -c, or give fewer --loops',
    );
  const target = chooseTarget(args);
  const onBed = (bed: Bed): Promise<ReplayResult> => {
    const macs = bed.guests.map((g) => g.mac ?? '');
    const mappings = mappingsOf(stationsOf(capture), macs, rules);
    return replayOnce(bed, config, { capture, mappings, pace, loops }, progress);
  };
  const bed = { dir: args.dir, guests, logDir, progress };
  const result = await onTestbed(target === 'compose' ? null : target, bed, onBed);
  progress.clear();
  const record = {
    ...fileHead('grantline.replay/1', host),
    settings: {
      file: resolve(file),
      format: capture.format,
      frames: capture.count,
      cut: capture.cut,
      foreign: capture.foreign,
      pace,
      loops,
      guests,
      config: config.name,
      map: rules,
    },
    result,
  };
  const path = join(dir, 'replay.json');
  writeJson(path, record);
  await json.write(record);
  for (const line of replayLines(result, capture)) json.text.write(`${line}\n`);
  json.text.write(`Results: ${relative(process.cwd(), path)}\n`);
  if (result.conservation !== 'ok')
    throw new RunError(`frames are not accounted for:\n  ${result.conservation.join('\n  ')}`);
  if (!result.ok) {
    const dropped = Object.keys(result.drops).length > 0 && result.guests.every((g) => g.extra === 0);
    throw new RunError(
      dropped
        ? 'frames were dropped on the way, each counted with its reason; a slower --pace, or an unloaded machine, leaves room for all'
        : 'what arrived is not what was sent',
    );
  }
}

function checkRules(rules: readonly MacRule[], guests: number): void {
  for (const [i, rule] of rules.entries()) {
    if (rule.guest > guests)
      throw new UserError(
        `--map names guest${rule.guest} and there are ${guests}`,
        `add --guests ${rule.guest}, or map to another`,
      );
    if (rules.findIndex((r) => r.mac === rule.mac) !== i)
      throw new UserError(`${rule.mac} is mapped twice`, 'map each address once');
  }
}

/** @throws UserError when it cannot be read, is no capture, is truncated, or holds no frame */
export function readCapture(path: string): Capture {
  const file = path === '-' ? 'standard input' : path;
  let bytes: Buffer | null;
  try {
    bytes = readUpTo(path, MAX_CAPTURE_BYTES);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    const why =
      code === 'ENOENT'
        ? 'there is no such file'
        : code === 'EISDIR'
          ? 'it is a directory'
          : `cannot read it (${code})`;
    throw new UserError(`${file}: ${why}`, 'give the path of a pcap or pcapng file');
  }
  if (bytes === null)
    throw new UserError(
      `${file} is larger than ${MAX_CAPTURE_BYTES >> 20} MiB`,
      'cut a part out with editcap or tcpdump -c',
    );
  try {
    const capture = parseCapture(bytes);
    if (capture.count === 0)
      throw new UserError(
        `${file} holds no whole frame`,
        capture.cut > 0 ? 'capture again without a snap length (tcpdump -s 0)' : 'give a capture with frames in it',
      );
    if (capture.lengths.every((n) => n > ETH_MAX_FRAME))
      throw new UserError(
        `${file} holds no frame of at most ${ETH_MAX_FRAME} bytes`,
        'capture again without segmentation offload (ethtool -K DEVICE gro off tso off)',
      );
    return capture;
  } catch (error) {
    if (!(error instanceof CaptureError)) throw error;
    const todo = error.message.startsWith('truncated')
      ? 'copy the file again, or repair it with pcapfix'
      : error.message.includes('Linux cooked')
        ? 'capture on one interface instead of "any", or convert it with tcprewrite --dlt=enet --enet-smac=MAC --enet-dmac=MAC'
        : 'give a pcap or pcapng file of Ethernet frames';
    throw new UserError(`${file}: ${error.message}`, todo);
  }
}

const frames = (n: number): string => (n === 1 ? '1 frame is' : `${n} frames are`);

/** What stands on the screen after a replay. */
export function replayLines(r: ReplayResult, capture: Capture): string[] {
  const lines = [
    `${r.config}: sent ${r.sentFrames} frames, ${r.sentBytes} bytes, in ${r.seconds.toFixed(2)} s` +
      (capture.cut > 0 ? `; ${capture.cut} frames of the file were cut short and left out` : ''),
  ];
  if (r.oversize > 0) lines.push(`  ${frames(r.oversize)} larger than ${ETH_MAX_FRAME} bytes: not sent`);
  if (capture.foreign > 0) lines.push(`  ${frames(capture.foreign)} of interfaces that are not Ethernet: left out`);
  for (const g of r.guests) {
    const same = g.missing === 0 && g.extra === 0;
    lines.push(
      `  ${g.guest} (${g.mac}): ${g.receivedFrames} of ${g.expectedFrames} frames, ${g.receivedBytes} of ${g.expectedBytes} bytes; ` +
        (same
          ? 'every frame arrived byte for byte'
          : `missing ${g.missing}, extra ${g.extra}, of these different ${Math.min(g.missing, g.extra)}`),
    );
  }
  const drops = Object.entries(r.drops);
  if (drops.length > 0) lines.push(`  dropped: ${drops.map(([k, n]) => `${k} ${n}`).join(', ')}`);
  lines.push(`  conservation at each hop: ${r.conservation === 'ok' ? 'ok' : 'VIOLATED'}`);
  return lines;
}
