// Makes an image another way: version, refcount width, lazy refcounts, the raw flag of its data file (AMD-11).
//
//   judged ─┬ to version 2: zeroes in its words ──────┬─ new refcount structures ─ flush ─ header: all at once
//           └ to version 3: complete snapshot entries ┘
//
// Whatever comes before the header leaves an image that says the same; the header then says all of the new at once. So a
// crash leaves the image as it was or as it is to be, and clusters that nobody names.

import { Fault } from '../../base/fault.ts';
import { autoclearBits, compatibleBits, emptyMask, withBit } from '../format/features.ts';
import type { HeaderContent } from '../format/header-cluster.ts';
import { headerLengthV2, headerLengthV3 } from '../format/header.ts';
import type { Header } from '../format/header.ts';
import { isCompressed } from '../format/l2-entry.ts';
import type { WriteParts } from '../image-parts.ts';
import { entryAt } from '../mapping/mapper.ts';
import type { ClusterRun } from '../metadata/refcount-tables.ts';
import { allTables } from './all-tables.ts';
import { judgeAmend, unsupported } from './amend-rules.ts';
import type { AmendGoal, AmendWish } from './amend-rules.ts';
import { expandZeroes } from './expand-zeroes.ts';
import { Pace } from './pace.ts';
import { makeRefcounts, requireFit } from './refcount-width.ts';
import type { Allocated, NewRefcounts } from './refcount-width.ts';
import { completeSnapshots } from './snapshot.ts';
import type { Progress, Steps } from './steps.ts';

/**
 * Returns what nothing names any more: it is to be dropped once the image is opened anew. Everything was settled before, and bitmaps stored.
 * Faults `unsupported-option`, `refcount-overflow`, `header-full`, `passphrase-required` before the first change;
 * `image-full` and those of the file leave the image as it was.
 */
export function* amend(parts: WriteParts, wish: AmendWish): Steps<readonly ClusterRun[]> {
  const goal = judgeAmend(parts, wish);
  const { header, geometry, version, order, encryption } = parts;
  header.admitContent(contentFor(parts, goal, undefined));
  const pace = new Pace();
  pace.expect(workLength(parts, goal));
  const isDowngrade = goal.version === 2 && version === 3;
  const isWidened = goal.refcountOrder !== geometry.refcountOrder;
  if (isDowngrade && encryption?.isUnlocked === false) throw new Fault('passphrase-required', {});
  if (isDowngrade) yield* requireDeflate(parts, pace);
  if (isWidened) yield* requireFit(parts, { ...goal, pace });
  forgetUnknownAutoclear(parts);
  const allocated: Allocated = new Set();
  let finished = false;
  try {
    if (isDowngrade) yield* expandZeroes(parts, pace);
    if (goal.version === 3 && version === 2) completeSnapshots(parts);
    const refcounts = isWidened ? yield* makeRefcounts(parts, { ...goal, allocated, pace }) : undefined;
    order.settle();
    header.rewrite(contentFor(parts, goal, refcounts));
    finished = true;
    return refcounts?.before ?? [];
  } finally {
    if (!finished) for (const run of allocated) parts.allocator.undo(run);
  }
}

/** Gives back what {@link amend} returned; the image was opened anew since. */
export function* giveBack(parts: WriteParts, runs: readonly ClusterRun[]): Steps<void> {
  for (const [index, run] of runs.entries()) {
    parts.order.drop(run, { punch: true });
    parts.order.relieve();
    if (index % runsPerStep === runsPerStep - 1) yield { done: index, total: runs.length };
  }
  parts.order.settle();
}

const runsPerStep = 4096;

/** About how many bytes of tables will be looked at. */
function workLength({ geometry, mapping, snapshots, refcounts }: WriteParts, goal: AmendGoal): number {
  const tables = goal.version === 2 ? mapping.l1Entries * (1 + snapshots.count) : 0;
  const passes =
    goal.refcountOrder === geometry.refcountOrder ? 0 : 3 + 2 ** (goal.refcountOrder - geometry.refcountOrder);
  return (tables + passes * refcounts.blockEnd) * geometry.clusterSize;
}

/** BIT-A2: durable before anything else changes. */
function forgetUnknownAutoclear({ header, file }: WriteParts): void {
  if (!header.hasUnknownAutoclear) return;
  header.setAutoclear({ bitmaps: header.hasBitmaps });
  file.flush();
}

/** AMD-02: version 2 has no word for another compression than deflate; where nothing is compressed, none is needed. */
function* requireDeflate(parts: WriteParts, pace: Pace): Generator<Progress, void, undefined> {
  const { header, geometry } = parts;
  if (header.header.compressionType === 0) return;
  for (const found of allTables(parts)) {
    for (let l2Index = 0; found !== undefined && l2Index < geometry.l2Entries; l2Index += 1) {
      const { high } = entryAt(parts, { table: found.table, l2Index });
      if (!isCompressed(high)) continue;
      throw unsupported('compat', '0.10', 'version 2 has no zstd, and the image has compressed clusters');
    }
    const pause = pace.spend(geometry.clusterSize);
    if (pause !== undefined) yield pause;
  }
}

function contentFor(parts: WriteParts, goal: AmendGoal, refcounts: NewRefcounts | undefined): HeaderContent {
  const { header, extensions, backingName } = parts.header;
  const moved = {
    ...header,
    refcountOrder: goal.refcountOrder,
    refcountTableOffset: refcounts?.tableOffset ?? header.refcountTableOffset,
    refcountTableClusters: refcounts?.tableClusters ?? header.refcountTableClusters,
  };
  return { header: goal.version === 2 ? asVersion2(moved) : asVersion3(moved, goal), extensions, backingName };
}

/** AMD-02: what it has no field for is gone. */
function asVersion2(header: Header): Header {
  return {
    ...header,
    version: 2,
    length: headerLengthV2,
    unknownFields: new Uint8Array(0),
    compressionType: 0,
    incompatible: emptyMask,
    compatible: emptyMask,
    autoclear: emptyMask,
  };
}

function asVersion3(header: Header, goal: AmendGoal): Header {
  return {
    ...header,
    version: 3,
    length: header.version === 2 ? headerLengthV3 : header.length,
    compatible: withBit(header.compatible, compatibleBits.lazyRefcounts, goal.lazyRefcounts),
    autoclear: withBit(header.autoclear, autoclearBits.rawExternalData, goal.dataFileRaw),
  };
}
