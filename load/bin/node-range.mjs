// Which releases of Node this runs on. `engines` in package.json says the same: a test holds them together.
// node:zlib has crc32 from 22.2 (and 20.15) on; 20.19 imports ES modules as they are.
export const NODE_RANGE = '^20.19 || >=22.2';
export const NODE_NEEDED = 'Node 20.19 or newer of 20, or 22.2 or newer';

/** @param {string} version as process.versions.node */
export function nodeIsGood(version) {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  return (major === 20 && minor >= 19) || (major === 22 && minor >= 2) || major > 22;
}
