// What the guest or a verb gives up goes back to the file system: measured by the blocks of real files (OPS-16, OPT-07…OPT-09, ORD-17).

import assert from 'node:assert/strict';
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';

import { KiB, MiB } from '../../../src/base/units.ts';
import { guestOffset } from '../../../src/engine/format/offsets.ts';
import { Image } from '../../../src/engine/image.ts';
import type { CreateSpec } from '../../../src/engine/image.ts';
import { runToEnd } from '../../../src/engine/operations/steps.ts';
import { luksOf } from '../../support/memory-chain.ts';
import { plainSpec } from '../../support/plain-spec.ts';
import { Prng } from '../../support/prng.ts';
import { tempFolder } from '../../support/temp-folder.ts';

const clusterSize = 64 * KiB;
const data = new Prng(3).bytes(2 * MiB);
/** Shrinks to about half. */
const packable = data.map((byte, index) => (index % clusterSize < clusterSize / 2 ? byte : 0));
const dataName = 'image.data';

interface Giving {
  readonly name: string;
  readonly change?: Partial<CreateSpec>;
  /** Before the space is measured, the image full of 2 MiB of data. */
  readonly prepare?: (image: Image) => void;
  readonly give: (image: Image) => void;
  /** How many bytes go back to the file system; tables may be made meanwhile, or go too. */
  readonly freed: number;
}

const at = guestOffset;
const snapshot = { name: 's', seconds: 0, nanoseconds: 0, idFloor: 1 };
const overwrite = (image: Image): void => image.write(at(0), data, { detectZeroes: false });
const keepsSpace = (image: Image): void => {
  image.setRuntime({ passDiscard: false, discardNoUnref: false });
};

const ways: readonly Giving[] = [
  { name: 'a discard', give: (image) => runToEnd(image.discard(at(0), MiB)), freed: MiB },
  {
    name: 'a discard that cuts clusters, of the whole ones',
    give: (image) => runToEnd(image.discard(at(clusterSize / 2), MiB)),
    freed: MiB - clusterSize,
  },
  {
    name: 'a discard with extended entries',
    change: { extendedL2: true },
    give: (image) => runToEnd(image.discard(at(0), MiB)),
    freed: MiB,
  },
  {
    name: 'a discard in version 2',
    change: { compat: '0.10' },
    give: (image) => runToEnd(image.discard(at(0), MiB)),
    freed: MiB,
  },
  {
    name: 'a discard with lazy refcounts',
    change: { lazyRefcounts: true },
    give: (image) => runToEnd(image.discard(at(0), MiB)),
    freed: MiB,
  },
  {
    name: 'a discard that the host is not told of',
    prepare: keepsSpace,
    give: (image) => runToEnd(image.discard(at(0), MiB)),
    freed: 0,
  },
  {
    name: 'a discard of what a snapshot reads',
    prepare: (image) => void runToEnd(image.createSnapshot(snapshot)),
    give: (image) => runToEnd(image.discard(at(0), MiB)),
    freed: 0,
  },
  {
    name: 'a discard that keeps places (OPT-10)',
    prepare: (image) => image.setRuntime({ passDiscard: true, discardNoUnref: true }),
    give: (image) => runToEnd(image.discard(at(0), MiB)),
    freed: MiB,
  },
  { name: 'zeroing that may unmap', give: (image) => runToEnd(image.zero(at(0), MiB, { unmap: true })), freed: MiB },
  { name: 'zeroing that may not', give: (image) => runToEnd(image.zero(at(0), MiB, { unmap: false })), freed: 0 },
  {
    name: 'a snapshot that is deleted (OPT-08)',
    prepare: (image) => {
      runToEnd(image.createSnapshot(snapshot));
      overwrite(image);
    },
    give: (image) => runToEnd(image.deleteSnapshot('s')),
    freed: 2 * MiB,
  },
  {
    name: 'a revert, of what was written since (OPT-08)',
    prepare: (image) => {
      runToEnd(image.createSnapshot(snapshot));
      overwrite(image);
    },
    give: (image) => runToEnd(image.revertSnapshot('s')),
    freed: 2 * MiB,
  },
  {
    name: 'emptying (OPT-08)',
    give: (image) => {
      runToEnd(image.empty());
    },
    freed: 2 * MiB,
  },
  {
    name: 'overwriting packed clusters, whose space stays (OPT-09)',
    prepare: (image) => runToEnd(image.writeCompressed(at(0), packable, { detectZeroes: false })),
    give: overwrite,
    freed: -2 * MiB,
  },
  {
    name: 'a smaller disk',
    give: (image) => runToEnd(image.resize({ virtualSize: MiB, allowShrink: true, preallocation: 'off' })),
    freed: MiB,
  },
  {
    name: 'a discard in a data file',
    change: { dataFile: { fileName: dataName, path: dataName, raw: false } },
    give: (image) => runToEnd(image.discard(at(0), MiB)),
    freed: MiB,
  },
  {
    name: 'a discard in a raw data file (DAT-05)',
    change: { dataFile: { fileName: dataName, path: dataName, raw: true } },
    give: (image) => runToEnd(image.discard(at(0), MiB)),
    freed: MiB,
  },
  ...[true, false].map((raw): Giving => ({
    name: `a discard in ${raw ? 'a raw' : 'the'} data file of an encrypted image`,
    change: { dataFile: { fileName: dataName, path: dataName, raw }, encryption: luksOf(1) },
    give: (image) => runToEnd(image.discard(at(0), MiB)),
    freed: MiB,
  })),
];

describe('space goes back', () => {
  for (const { name, change = {}, prepare, give, freed } of ways) {
    it(`by ${name}`, () => {
      using folder = tempFolder();
      const path = join(folder.path, 'image.qcow2');
      const dataFile = change.dataFile && { ...change.dataFile, path: join(folder.path, dataName) };
      runToEnd(Image.create(path, { ...plainSpec, virtualSize: 4 * MiB, ...change, ...(dataFile && { dataFile }) }));
      const image = Image.open({ path, writable: true, locks: 'none', backing: [], ...(dataFile && { dataFile }) });
      if (change.encryption !== undefined) image.unlock(change.encryption.volumeKey);
      overwrite(image);
      prepare?.(image);
      image.settle();
      const files = dataFile === undefined ? [path] : [path, dataFile.path];
      const before = spaceOf(files);
      give(image);
      image.settle();
      const difference = before - spaceOf(files);
      assert.ok(Math.abs(difference - freed) <= tablesMax, `${difference} bytes went back, not ${freed}`);
      image.close();
    });
  }
});

/** What tables may take or give meanwhile. */
const tablesMax = 6 * clusterSize;

function spaceOf(files: readonly string[]): number {
  return files.reduce((sum, path) => sum + statSync(path).blocks * 512, 0);
}
