// Measures what we claim about speed, beside QEMU's tools and a plain file server, in one run on the same bytes.
//
//   npm run bench                        all claims
//   npm run bench -- read import         some of them
//   npm run bench -- --json              one JSON object a line
//   npm run bench -- read --profile=DIR  CPU profiles of the service go to DIR

import { tmpdir } from 'node:os';
import { parseArgs } from 'node:util';

import type { Claim } from './claim.ts';
import { commit, flatten, rebase } from './claims/chains.ts';
import { check } from './claims/check.ts';
import { copyImage } from './claims/copy.ts';
import { create } from './claims/create.ts';
import { durableWrite } from './claims/durable-write.ts';
import { features } from './claims/features.ts';
import { firstWrite } from './claims/first-write.ts';
import { importImage } from './claims/import.ts';
import { info } from './claims/info.ts';
import { luksCiphers } from './claims/luks-ciphers.ts';
import { luksRanges } from './claims/luks-ranges.ts';
import { luks } from './claims/luks.ts';
import { nginx } from './claims/nginx.ts';
import { read } from './claims/read.ts';
import { sharedFlushes } from './claims/shared-flushes.ts';
import { snapshot } from './claims/snapshot.ts';
import { write } from './claims/write.ts';
import { describeLoad, describeMachine, lineOf, printLine, printMissing, tableHead } from './report.ts';
import { Bench } from './workplace.ts';

const claims: readonly Claim[] = [
  read,
  nginx,
  write,
  firstWrite,
  durableWrite,
  sharedFlushes,
  features,
  importImage,
  copyImage,
  luks,
  luksRanges,
  luksCiphers,
  flatten,
  commit,
  rebase,
  check,
  info,
  create,
  snapshot,
];

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    json: { type: 'boolean', default: false },
    memory: { type: 'string', default: '/dev/shm' },
    disk: { type: 'string', default: tmpdir() },
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '0.6' },
    profile: { type: 'string' },
  },
});

const wanted = claims.filter(({ name }) => positionals.length === 0 || positionals.includes(name));
const unknown = positionals.filter((word) => !claims.some(({ name }) => name === word));
if (unknown.length > 0) {
  console.error(`no claim "${unknown.join(' ')}". There are: ${claims.map(({ name }) => name).join(', ')}.`);
  process.exit(2);
}

if (!values.json) console.log(`${describeMachine()}\n\n${tableHead}`);
const startedAt = performance.now();
for (const claim of wanted) await prove(claim);
if (!values.json) console.log(`\n${((performance.now() - startedAt) / 1000).toFixed(0)} s, ${describeLoad('end')}`);

/** Each claim has a workplace of its own, so that none leaves work or files to the next. */
async function prove(claim: Claim): Promise<void> {
  const bench = new Bench({
    memoryFolder: values.memory,
    diskFolder: values.disk,
    rounds: Number(values.rounds),
    seconds: Number(values.seconds),
    nodeOptions: values.profile === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${values.profile}`],
  });
  try {
    for await (const comparison of claim.measure(bench)) {
      if ('missing' in comparison) {
        const { name, missing } = comparison;
        console.log(values.json ? JSON.stringify({ claim: claim.name, name, missing }) : printMissing(comparison));
        continue;
      }
      const line = lineOf(claim.name, comparison);
      console.log(values.json ? JSON.stringify(line) : printLine(line));
    }
  } catch (error) {
    console.error(await bench.lastWords());
    throw error;
  } finally {
    await bench.end();
  }
}
