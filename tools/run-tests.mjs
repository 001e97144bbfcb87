// Runs the tests: "unit" needs only Node, "qemu" compares with qemu-img and qemu-io, "coverage" tells what the engine's own
// tests leave out.
//
//   npm test                                   every unit test
//   npm test -- mapping                        test files with "mapping" in their path
//   npm test -- --test-name-pattern='zeroes'   options go to Node's test runner

import { spawn, spawnSync } from 'node:child_process';
import { globSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
/** One more than processors in CI: many tests wait for the disk, for a process or for a time to pass. */
const filesAtOnce = 3;
/** Characters of the last words of the runner that are kept to find the summary in; a table of coverage comes behind it. */
const tailLengthMax = 65_536;

const modes = {
  unit: {
    title: 'unit tests (only Node needed)',
    include: ['test/**/*.test.ts'],
    exclude: ['test/interop/**'],
    options: [],
  },
  qemu: {
    title: 'tests against qemu-img and qemu-io',
    include: ['test/interop/**/*.test.ts'],
    exclude: [],
    options: [],
  },
  // Not the simulation, which reaches nearly everything and judges only what a crash leaves; not what watches memory and
  // processor time, which the counting itself takes.
  coverage: {
    title: "the engine's unit tests, and what of src/engine/ they run",
    include: ['test/engine/*/**/*.test.ts', 'test/fuzz/**/*.test.ts'],
    exclude: [],
    options: [
      '--experimental-test-coverage',
      '--test-coverage-include=src/engine/**',
      '--test-coverage-branches=90',
      // A function that never runs has no branches to miss.
      '--test-coverage-functions=90',
      '--test-coverage-lines=95',
    ],
  },
};

const [modeName = '', ...rest] = process.argv.slice(2);
const mode = modes[modeName];
if (mode === undefined) fail(`usage: run-tests.mjs ${Object.keys(modes).join('|')} [part of a path …] [--option=…]`);
if (modeName === 'qemu') requireQemu();

const options = [...mode.options, ...rest.filter((word) => word.startsWith('-'))];
const filters = rest.filter((word) => !word.startsWith('-'));
const files = globSync(mode.include, { cwd: root, exclude: mode.exclude })
  .filter((file) => filters.length === 0 || filters.some((filter) => file.includes(filter)))
  .toSorted();
if (files.length === 0) fail(`no test file for "${[modeName, ...filters].join(' ')}" (${mode.include.join(', ')})`);

process.stdout.write(`${mode.title}: ${files.length} files, ${filesAtOnce} at a time, Node ${process.versions.node}\n`);
for (const file of files) process.stdout.write(`  ${file}\n`);

const runner = spawn(
  process.execPath,
  ['--test', `--test-concurrency=${filesAtOnce}`, '--test-reporter=spec', ...options, ...files],
  { cwd: root, stdio: ['inherit', 'pipe', 'inherit'], env: environment() },
);
// The summary is the last thing the runner prints; it says how many tests really ran.
let tail = '';
runner.stdout.setEncoding('utf8');
runner.stdout.on('data', (chunk) => {
  process.stdout.write(chunk);
  tail = (tail + chunk).slice(-tailLengthMax);
});
runner.on('error', (error) => fail(`the test runner did not start: ${error.message}`));
runner.on('close', (code, signal) => {
  const passed = Number(/^ℹ pass (\d+)$/m.exec(withoutColours(tail))?.[1] ?? 0);
  if (signal !== null) fail(`the test runner was ended by ${signal}`);
  if (code !== 0) process.exit(code ?? 1);
  if (passed === 0) fail('no test has run');
});
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => runner.kill(signal));

/** What Node has compiled once is kept for the next process; but counting what ran wants everything compiled anew. */
function environment() {
  if (modeName === 'coverage') return process.env;
  return { NODE_COMPILE_CACHE: `${root}node_modules/.cache/node`, ...process.env };
}

function withoutColours(text) {
  return text.replaceAll(/\u001b\[[\d;]*m/g, '');
}

function requireQemu() {
  for (const tool of ['qemu-img', 'qemu-io']) {
    const answer = spawnSync(tool, ['--version'], { encoding: 'utf8' });
    if (answer.error !== undefined || answer.status !== 0) {
      fail(`${tool} is missing: these tests compare with QEMU's own tools. Try: apt-get install qemu-utils`);
    }
    process.stdout.write(`${answer.stdout.split('\n')[0]}\n`);
  }
}

function fail(message) {
  process.stderr.write(`${message}\n`);
  process.exit(1);
}
