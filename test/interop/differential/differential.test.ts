// Random lives of an image, lived by our engine and by QEMU: afterwards QEMU finds the same image.
// SEED=n replays one stream, STREAMS=n runs so many; the first seed of a run is printed.

import { join } from 'node:path';
import { describe, test } from 'node:test';

import { tempFolder } from '../../support/temp-folder.ts';
import { makeStream } from './choices.ts';
import { imageName, makeLayers } from './layers.ts';
import { createOurs, liveOurs } from './our-life.ts';
import type { Stream } from './stream.ts';
import { createTwin, liveTwin } from './twin-life.ts';
import { judge } from './verdict.ts';

const streamsInCi = 200;
const seedsPerTest = 20;

const only = process.env['SEED'];
const count = Number(process.env['STREAMS'] ?? streamsInCi);
const firstSeed = only === undefined ? Number(process.env['FIRST_SEED'] ?? 1) : Number(only);
const seeds = Array.from({ length: only === undefined ? count : 1 }, (_, index) => firstSeed + index);

describe('lives of an image', () => {
  for (let start = 0; start < seeds.length; start += seedsPerTest) {
    const some = seeds.slice(start, start + seedsPerTest);
    test(`seeds ${String(some[0])} to ${String(some.at(-1))} end as QEMU's do`, { timeout: 600_000 }, async () => {
      for (const seed of some) await liveBoth(makeStream(seed));
    });
  }
});

async function liveBoth(stream: Stream): Promise<void> {
  using folder = tempFolder();
  const folders = { ours: join(folder.path, 'ours'), twin: join(folder.path, 'twin') };
  try {
    makeLayers([folders.ours, folders.twin], stream.options);
    createOurs(folders.ours, stream.options);
    createTwin(folders.twin, stream.options, join(folders.ours, imageName));
    const standing = liveOurs(folders.ours, stream);
    const twin = liveTwin(folders.twin, stream);
    await judge({ stream, folders, twin, standing });
  } catch (error) {
    throw new Error(`SEED=${String(stream.seed)}: ${describeStream(stream)}`, { cause: error });
  }
}

function describeStream(stream: Stream): string {
  return JSON.stringify({ options: stream.options, operations: stream.operations });
}
