#!/usr/bin/env node
// The grantline command. Plain JavaScript, so that an old Node can still say what it lacks.
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { NODE_NEEDED, nodeIsGood } from './node-range.mjs';

/** @param {string} what @param {string} todo */
function refuse(what, todo) {
  process.stderr.write(`grantline: ${what} - ${todo}\n`);
  process.exit(2);
}

function mayOpenFew() {
  try {
    return Number(/^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'latin1'))?.[1]) < 1024;
  } catch {
    return true;
  }
}

if (process.platform !== 'linux') {
  refuse(
    `needs Linux, this is ${process.platform}`,
    'run it in Docker: docker run --rm -it -v "$PWD":/grantline -w /grantline --shm-size=1g node:24 npm start',
  );
} else if (!nodeIsGood(process.versions.node)) {
  refuse(
    `needs ${NODE_NEEDED}, this is ${process.versions.node}`,
    'install it from https://nodejs.org or with your version manager',
  );
} else {
  try {
    await import(pathToFileURL(`${await codeDirectory()}/load/dist/src/cli/main.js`).href);
  } catch (error) {
    // All modules are opened at once. Of a package whose package.json could not be opened for that, Node says that it is missing.
    const code = error.code === 'ERR_MODULE_NOT_FOUND' && mayOpenFew() ? 'EMFILE' : error.code;
    if (code !== 'EMFILE' && code !== 'ENFILE') throw error;
    refuse(`may open too few files at once (${code})`, 'raise the limit: ulimit -n 1024');
  }
}

/** In a clone it is made of the sources, where that was not done yet; an image has nothing else. */
async function codeDirectory() {
  const tools = new URL('../../tools/setup.mjs', import.meta.url);
  if (!existsSync(tools)) return fileURLToPath(new URL('../..', import.meta.url));
  const { setup } = await import(tools.href);
  return setup();
}
