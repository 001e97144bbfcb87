// A whole mapping tree: every reference once, tables behind what they name, and flags that agree with the refcounts.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { MemoryFile } from '../../../src/engine/file/memory-file.ts';
import type { WriteParts } from '../../../src/engine/image-parts.ts';
import { refreshOwned, visitTree } from '../../../src/engine/operations/tree.ts';
import { at, commonChoice, place, setL2Entry, setUint64, soundImage } from '../../support/hostile-image.ts';
import type { DraftImage } from '../../support/hostile-image.ts';
import { ImageBytes } from '../../support/image-bytes.ts';
import { clean, countsOf, fileBytes, partsOver } from '../../support/memory-parts.ts';

const owned = 1n << 63n;
const clusterSize = 4096;

/** The references of the active tree as `first+count`, in the order of the visits. */
function visitsOf(parts: WriteParts, enough = Number.MAX_SAFE_INTEGER): readonly string[] {
  const visits: string[] = [];
  const steps = visitTree(parts, parts.mapping, {
    l1Start: 0,
    visit: ({ first, count }) => visits.push(`${String(first)}+${String(count)}`),
    isEnough: () => visits.length >= enough,
  });
  while (steps.next().done !== true);
  return visits;
}

function partsOf(draft: DraftImage): WriteParts {
  return partsOver(MemoryFile.of(draft.bytes), undefined);
}

function drain(steps: Generator<unknown, void, undefined>): void {
  while (steps.next().done !== true);
}

describe('a visit of a tree', () => {
  it('joins clusters in a row, takes each blob by itself, and comes to the table last', () => {
    // Data in clusters 5 and 6, two blobs in cluster 7, the table in 4.
    assert.deepEqual(visitsOf(partsOf(soundImage(commonChoice))), ['5+2', '7+1', '7+1', '4+1']);
  });

  it('passes what has no place, and finds zero clusters that keep one (MAP-03)', () => {
    const draft = soundImage(commonChoice);
    setL2Entry(draft, 0, 1n);
    setL2Entry(draft, 1, BigInt(place.dataTwo * clusterSize) | 1n);
    setL2Entry(draft, 5, BigInt(place.dataOne * clusterSize));
    assert.deepEqual(visitsOf(partsOf(draft)), ['6+1', '7+1', '7+1', '5+1', '4+1']);
  });

  it('finds both clusters of a blob that crosses into the next (CMP-09)', () => {
    const draft = soundImage(commonChoice);
    // 4 KiB clusters: the offset has 58 bits; two sectors beyond the first.
    const crossing = (1n << 62n) | (2n << 58n) | BigInt(place.blobs * clusterSize + 4000);
    setL2Entry(draft, 2, crossing);
    assert.deepEqual(visitsOf(partsOf(draft)), ['5+2', '7+2', '7+1', '4+1']);
  });

  it('stops soon after it is told to, and has gone the same way until then', () => {
    const draft = soundImage(commonChoice);
    for (let index = 10; index < 60; index += 2) setL2Entry(draft, index, BigInt(place.dataOne * clusterSize));
    const parts = partsOf(draft);
    const whole = visitsOf(parts);
    assert.equal(whole.length, 29);
    for (let enough = 0; enough <= whole.length; enough += 1) {
      const visits = visitsOf(parts, enough);
      assert.deepEqual(visits, whole.slice(0, visits.length));
      // What was found in a row by then is still visited; undoing goes by its own count.
      assert.ok(
        visits.length >= enough && visits.length <= enough + 1,
        `${String(visits.length)} of ${String(enough)}`,
      );
    }
  });

  it('knows the tables', () => {
    const { mapping } = partsOf(soundImage(commonChoice));
    assert.deepEqual([...mapping.l2Tables()], [place.l2Table * clusterSize]);
  });
});

describe('owned flags made anew', () => {
  it('are set exactly where a refcount is 1, on tables and on clusters (MAP-04, T01, T02)', () => {
    const draft = soundImage(commonChoice);
    // Every flag is the contrary of what it should be once the snapshot's share of cluster 5 and the table is gone.
    setL2Entry(draft, 1, owned | BigInt(place.dataTwo * clusterSize));
    setL2Entry(draft, 6, owned | 1n);
    const bytes = ImageBytes.of(draft.bytes);
    bytes.setRefcount(place.dataOne, 1);
    bytes.setRefcount(place.l2Table, 1);
    bytes.setRefcount(place.blobs, 1);
    const file = MemoryFile.of(bytes.bytes);
    const parts = partsOver(file, undefined);
    drain(refreshOwned(parts));
    parts.order.settle();
    const after = ImageBytes.of(fileBytes(file));
    assert.equal(after.u64(after.l1At(0)), owned | BigInt(place.l2Table * clusterSize));
    assert.equal(after.u64(after.l2At(0)), owned | BigInt(place.dataOne * clusterSize));
    assert.equal(after.u64(after.l2At(1)), BigInt(place.dataTwo * clusterSize));
    // Blobs are never owned, and what has no place has nobody to own it.
    for (const index of [2, 3]) assert.equal(after.u64(after.l2At(index)), bytes.u64(bytes.l2At(index)));
    assert.equal(after.u64(after.l2At(6)), owned | 1n);
  });

  it('that are right already write nothing', () => {
    const { bytes } = soundImage(commonChoice);
    const file = MemoryFile.of(bytes);
    const parts = partsOver(file, undefined);
    drain(refreshOwned(parts));
    assert.equal(parts.mappingCache.isDirty, false);
    assert.equal(parts.mapping.hasUnwrittenL1, false);
    assert.deepEqual(countsOf(file), clean);
  });

  it('are made of tables that hold no place where they point: broken places are refused, not flagged', () => {
    const draft = soundImage(commonChoice);
    setUint64(draft, at(draft, place.l2Table, 0), 0x5200n);
    assert.throws(() => {
      drain(refreshOwned(partsOf(draft)));
    }, /l2-entry-invalid/);
  });
});
