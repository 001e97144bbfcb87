// Tables that end outside the file are empty there, for us as for QEMU: the same bytes, the same writes, the same refusals.

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, test } from 'node:test';

import { Fault } from '../../src/base/fault.ts';
import { KiB, MiB } from '../../src/base/units.ts';
import { guestOffset } from '../../src/engine/format/offsets.ts';
import { Image } from '../../src/engine/image.ts';
import { ImageBytes } from '../support/image-bytes.ts';
import { qemuImg, qemuIo, runTool } from '../support/qemu-img.ts';
import { tempFolder } from '../support/temp-folder.ts';

const cluster = 64 * KiB;
const quiet = { format: 'qcow2', readOnly: false, syncs: false, discard: 'unmap' } as const;
/** Far behind the end of every file here, and on a cluster. */
const far = BigInt(2 ** 36);

interface OutsideCase {
  readonly title: string;
  readonly damage: (image: ImageBytes) => void;
  /** What the first cluster reads as. */
  readonly first: number;
  /** Whether a cluster can be allocated; else both refuse to write over a table. */
  readonly takesWrites: boolean;
}

const cases: readonly OutsideCase[] = [
  {
    title: 'an L1 table of 32 MiB (LIM-01)',
    damage: (image: ImageBytes): void => {
      image.setU64(40, moveToEnd(image, image.l1Offset));
      image.setU32(36, 4_194_304);
    },
    first: 7,
    takesWrites: false,
  },
  {
    title: 'an L1 table far behind the end',
    damage: (image) => image.setU64(40, far),
    first: 0,
    takesWrites: true,
  },
  {
    title: 'a refcount table of 8 MiB (LIM-02)',
    damage: (image: ImageBytes): void => {
      image.setU64(48, moveToEnd(image, image.tableOffset));
      image.setU32(56, 128);
    },
    first: 7,
    takesWrites: false,
  },
  {
    title: 'a refcount table far behind the end',
    damage: (image) => image.setU64(48, far),
    first: 7,
    takesWrites: false,
  },
];

describe('outside the file lies', () => {
  for (const case_ of cases) {
    test(case_.title, () => {
      using folder = tempFolder();
      const paths = { ours: join(folder.path, 'ours.qcow2'), theirs: join(folder.path, 'theirs.qcow2') };
      makeDamaged(paths.theirs, case_);
      makeDamaged(paths.ours, case_);

      qemuIo(paths.theirs, [`read -P ${case_.first} 0 ${cluster}`], { ...quiet, readOnly: true });
      assert.deepEqual(readOurs(paths.ours), [case_.first, 0]);

      const write = runTool('qemu-io', ['-f', 'qcow2', '-c', `write -P 5 ${8 * cluster} ${cluster}`, paths.theirs], '');
      const refusal = writeOurs(paths.ours);
      if (case_.takesWrites) {
        assert.deepEqual([write.exit, refusal], [0, undefined]);
        const written = [`read -P ${case_.first} 0 ${cluster}`, `read -P 5 ${8 * cluster} ${cluster}`];
        for (const path of [paths.theirs, paths.ours]) qemuIo(path, written, { ...quiet, readOnly: true });
        return;
      }
      assert.match(write.stderr, /Preventing invalid write on metadata/);
      assert.equal(refusal, 'metadata-overlap');
      qemuIo(paths.ours, [`read -P ${case_.first} 0 ${cluster}`], { ...quiet, readOnly: true });
    });
  }
});

function makeDamaged(path: string, { damage }: OutsideCase): void {
  qemuImg('create', '-q', '-f', 'qcow2', path, '1M');
  qemuIo(path, [`write -P 7 0 ${cluster}`], quiet);
  const bytes = ImageBytes.read(path);
  damage(bytes);
  bytes.write(path);
}

/** Copies the first entry of a table to a cluster of its own behind all others; returns where. */
function moveToEnd(image: ImageBytes, offset: number): bigint {
  const end = image.endCluster;
  image.copy(offset, 8, end * cluster);
  image.setRefcount(end, 1);
  return BigInt(end * cluster);
}

/** What the first byte of the first cluster is, and of the last. */
function readOurs(path: string): readonly (number | undefined)[] {
  const image = Image.open({ path, writable: false, locks: 'qemu', backing: [] });
  try {
    const bytes = new Uint8Array(MiB);
    image.read(guestOffset(0), bytes);
    return [bytes[0], bytes.at(-1)];
  } finally {
    image.close();
  }
}

/** The code of the fault, if writing makes one. */
function writeOurs(path: string): string | undefined {
  const image = Image.open({ path, writable: true, locks: 'qemu', backing: [] });
  try {
    image.write(guestOffset(8 * cluster), new Uint8Array(cluster).fill(5), { detectZeroes: false });
    return undefined;
  } catch (error) {
    if (error instanceof Fault) return error.code;
    throw error;
  } finally {
    image.close();
  }
}
