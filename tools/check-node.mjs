// Explains a Node that is too old or too new before anything else fails in a way nobody understands.

import { readFileSync } from 'node:fs';

const manifest = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));
const wanted = manifest.engines.node;
const range = /^>=(\d+)\.(\d+) <(\d+)$/.exec(wanted);
if (range === null) throw new Error(`package.json: engines.node must read ">=A.B <C", it reads "${wanted}"`);

const [oldestMajor, oldestMinor, firstTooNew] = range.slice(1).map(Number);
const [major, minor] = process.versions.node.split('.').map(Number);
const oldEnough = major < firstTooNew;
const newEnough = major > oldestMajor || (major === oldestMajor && minor >= oldestMinor);

if (!oldEnough || !newEnough) {
  process.stderr.write(
    [
      `qcowd runs its TypeScript with Node ${wanted}; this is Node ${process.versions.node} (${process.execPath}).`,
      '',
      'On Linux x64 "npm ci" puts a fitting Node into node_modules, and "npm start" and "npm test" find it there.',
      'What to do:',
      '  - run "npm ci" once in this folder (without --omit=optional), then "npm start" or "npm test";',
      `  - on another system install Node ${oldestMajor}.${oldestMinor} or later (https://nodejs.org) and try again.`,
      '',
    ].join('\n'),
  );
  process.exit(1);
}
