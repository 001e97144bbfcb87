// Changes of guest data and of what belongs to it, on a disk that fails at every single step of them.

import assert from 'node:assert/strict';

import { Fault } from '../../../src/base/fault.ts';
import { MemoryFile } from '../../../src/engine/file/memory-file.ts';
import { guestOffset } from '../../../src/engine/format/offsets.ts';
import { runToEnd } from '../../../src/engine/operations/steps.ts';
import { bytesBelow, describeFailures, filled, places, resized } from '../../support/failing-disk.ts';
import type { Change, Kind } from '../../support/failing-disk.ts';
import { layerOf, luksOf } from '../../support/memory-chain.ts';
import { fillGuest } from '../../support/memory-parts.ts';
import { Prng } from '../../support/prng.ts';

const noState = new Uint8Array(0);
const newState = new Prng(5).bytes(70_000);
const { owned, shared, keptZero, absent } = places;

/** One L2 table of small clusters does not cover it. */
const grownSize = 520 * 4096;

const kinds: readonly Kind[] = [
  { name: 'version 3', change: { clusterSize: 4096 }, below: undefined },
  { name: 'version 2', change: { clusterSize: 4096, compat: '0.10' }, below: undefined },
  { name: 'lazy refcounts', change: { clusterSize: 4096, lazyRefcounts: true }, below: undefined },
  {
    name: 'extended entries over a layer',
    change: { clusterSize: 16_384, extendedL2: true },
    below: bytesBelow(16_384),
  },
  // 64 refcounts a block and 64 entries an L2 table: most changes need more of both.
  { name: 'small clusters and wide refcounts', change: { clusterSize: 512, refcountBits: 64 }, below: bytesBelow(512) },
];

const changes: readonly Change[] = [
  writing('an overwrite', owned, 100, 700),
  writing('a write to clusters that are shared with a snapshot', shared, -300, 1500),
  writing('a write to a zero cluster that kept its place', keptZero, 10, 300),
  writing('a write to absent clusters', absent, 50, 3 * 512),
  writing('a write over everything', 0, 0, 20 * 512),
  {
    name: 'a packed write',
    isStructural: false,
    after: (before, cluster) => filled(before, { offset: 2 * cluster, length: 16 * cluster, value: 0x3c }),
    run: (image, cluster) =>
      runToEnd(
        image.writeCompressed(guestOffset(2 * cluster), new Uint8Array(16 * cluster).fill(0x3c), {
          detectZeroes: false,
        }),
      ),
  },
  {
    name: 'zeroing that keeps places',
    isStructural: false,
    after: (before, cluster) => filled(before, { offset: owned, length: 6 * cluster, value: 0 }),
    run: (image, cluster) => runToEnd(image.zero(guestOffset(owned), 6 * cluster, { unmap: false })),
  },
  {
    name: 'zeroing that gives places back',
    isStructural: false,
    after: (before, cluster) => filled(before, { offset: owned, length: 6 * cluster, value: 0 }),
    run: (image, cluster) => runToEnd(image.zero(guestOffset(owned), 6 * cluster, { unmap: true })),
  },
  {
    name: 'a discard',
    isStructural: false,
    after: (before, cluster) => filled(before, { offset: owned, length: 6 * cluster, value: 0 }),
    run: (image, cluster) => runToEnd(image.discard(guestOffset(owned), 6 * cluster)),
  },
  {
    name: 'taking a snapshot',
    isStructural: true,
    after: (before) => ({
      ...before,
      snapshots: [...before.snapshots, { name: 'new', bytes: before.bytes, vmState: noState }],
    }),
    run: (image) => void runToEnd(image.createSnapshot({ name: 'new', seconds: 1, nanoseconds: 2, idFloor: 1 })),
  },
  {
    name: 'writing VM state',
    isStructural: true,
    after: (before) => ({ ...before, snapshots: before.snapshots.map((one) => ({ ...one, vmState: newState })) }),
    run: (image) => runToEnd(image.writeVmState('old', MemoryFile.of(newState))),
  },
  {
    name: 'deleting a snapshot',
    isStructural: true,
    after: (before) => ({ ...before, snapshots: [] }),
    run: (image) => runToEnd(image.deleteSnapshot('old')),
  },
  {
    name: 'reverting to a snapshot',
    isStructural: true,
    after: (before) => ({ ...before, bytes: before.snapshots[0]?.bytes ?? before.bytes }),
    run: (image) => runToEnd(image.revertSnapshot('old')),
  },
  {
    name: 'growing',
    isStructural: true,
    after: (before) => ({ ...before, bytes: resized(before.bytes, grownSize) }),
    run: (image) => runToEnd(image.resize({ virtualSize: grownSize, allowShrink: false, preallocation: 'off' })),
  },
  {
    name: 'shrinking',
    isStructural: true,
    after: (before, cluster) => ({ ...before, bytes: resized(before.bytes, 14 * cluster) }),
    run: (image, cluster) =>
      runToEnd(image.resize({ virtualSize: 14 * cluster, allowShrink: true, preallocation: 'off' })),
  },
  {
    name: 'compacting',
    isStructural: true,
    after: (before) => before,
    run: (image) => void runToEnd(image.compact({ detectZeroes: true })),
  },
  {
    name: 'amending',
    isStructural: true,
    after: (before) => before,
    run: (image) =>
      runToEnd(image.amend({ compat: '1.1', refcountBits: 32, lazyRefcounts: undefined, dataFileRaw: undefined })),
  },
];

/** What a write copies around itself is decrypted, and encrypted with another key. */
const encrypted: Kind = {
  ...{ name: 'an encrypted image over another one', change: { clusterSize: 512 }, key: luksOf(1) },
  below: layerOf(bytesBelow(512), luksOf(2)),
};
const copying = changes.filter(({ name }) => name.startsWith('a write'));
describeFailures(encrypted, copying);

/** With clusters for what is new, which lies behind every layer. */
function growing(preallocation: 'metadata' | 'falloc' | 'full'): Change {
  return {
    name: `growing with preallocation ${preallocation}`,
    isStructural: true,
    after: (before, cluster) => ({ ...before, bytes: resized(before.bytes, 30 * cluster) }),
    run: (image, cluster) => {
      const { virtualSize } = image;
      try {
        runToEnd(image.resize({ virtualSize: 30 * cluster, allowShrink: false, preallocation }));
      } catch (error) {
        if (faultIn(error) === 'insufficient-storage')
          assert.equal(image.virtualSize, virtualSize, 'the size is the old one');
        throw error;
      }
    },
  };
}

function faultIn(error: unknown): string | undefined {
  return error instanceof Fault ? error.code : undefined;
}

const [plain, , lazy, extended] = kinds;
for (const [kind, preallocation] of [
  [plain, 'full'],
  [lazy, 'falloc'],
  [extended, 'metadata'],
] as const) {
  if (kind !== undefined) describeFailures({ ...kind, name: `${kind.name}, reserving` }, [growing(preallocation)]);
}

for (const kind of kinds) {
  // OPS-20.
  const possible = changes.filter(({ name }) => kind.change.compat === undefined || !/grow|shrink/.test(name));
  describeFailures(kind, possible);
}

/** A write of `length` bytes for each 512 bytes of a cluster, from `shift` bytes behind the start of a guest cluster. */
function writing(name: string, first: number, shift: number, length: number): Change {
  const spanOf = (cluster: number): { readonly offset: number; readonly length: number } => ({
    offset: first * cluster + shift,
    length: (length * cluster) / 512,
  });
  return {
    name,
    isStructural: false,
    after: (before, cluster) => filled(before, { ...spanOf(cluster), value: 0x77 }),
    run: (image, cluster) => {
      const { offset, length: bytes } = spanOf(cluster);
      fillGuest(image, offset, bytes, 0x77);
    },
  };
}
