/** What the header of a capture tells about the machine and the program. */
import { arch, cpus, release, type } from 'node:os';
import type { SectionInfo } from './pcapng-blocks.js';
import { buildInfo } from '@grantline/base';

/** @param program its name */
export function sectionInfo(program: string): SectionInfo {
  const { version, revision } = buildInfo();
  return {
    hardware: `${cpus()[0]?.model.trim() ?? 'unknown processor'} (${arch()})`,
    os: `${type()} ${release()}`,
    application: `${program} ${version}${revision === '' ? '' : ` ${revision}`}`,
  };
}
