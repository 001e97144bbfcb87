// Builds the refcount structures of a file anew from a census, beside the old ones, and switches to them (CHK-07).
//
//   1. in memory: a block for every stretch with references, a table for the blocks; each of them is a reference
//      itself and may need a further block, so the layout is repeated until nothing is added
//   2. blocks and table are written to clusters that nobody references, then flushed
//   3. the header is switched with one write; the old structures are leaks until the next comparison lowers them

import { divideUp } from '../../base/integers.ts';
import { viewOf, writeUint64 } from '../format/big-endian.ts';
import { refcountTableLengthMax } from '../format/header.ts';
import { hostOffset } from '../format/offsets.ts';
import { writeRefcount } from '../format/refcount-block.ts';
import type { CheckSubject } from './check-subject.ts';
import { hostClustersMax } from './check-subject.ts';
import type { LedgerAllocation } from './ledger-allocation.ts';
import type { Pace } from './pace.ts';
import type { ReferenceLedger } from './reference-ledger.ts';
import type { Steps } from './steps.ts';

const tableEntrySize = 8;
/** `refcount_table_offset` and `refcount_table_clusters` lie side by side in the header (FMT-13). */
const tablePointerAt = 48;

/** Where the new structures go, in clusters. */
interface Layout {
  /** By refcount table index. */
  readonly blocks: ReadonlyMap<number, number>;
  readonly table: number;
  readonly tableClusters: number;
}

/** Writes new structures that hold exactly the counts of the ledger; false when the format has no room for them. */
export function* rebuildRefcounts(
  subject: CheckSubject,
  ledger: ReferenceLedger,
  options: { readonly allocation: LedgerAllocation; readonly pace: Pace },
): Steps<boolean> {
  const layout = layOut(subject, ledger, options.allocation);
  if (layout === undefined) return false;
  yield* writeBlocks({ subject, ledger, pace: options.pace }, layout);
  writeTable(subject, layout);
  subject.file.flush();
  const pointer = new Uint8Array(12);
  writeUint64(viewOf(pointer), 0, layout.table * subject.geometry.clusterSize);
  viewOf(pointer).setUint32(8, layout.tableClusters);
  subject.file.writeAt(hostOffset(tablePointerAt), pointer);
  subject.file.flush();
  return true;
}

/** Finds places for everything; the ledger then counts them. */
function layOut(subject: CheckSubject, ledger: ReferenceLedger, allocation: LedgerAllocation): Layout | undefined {
  const { clusterSize, refcountsPerBlock } = subject.geometry;
  const blocks = new Map<number, number>();
  let table = 0;
  let tableClusters = 0;
  let highest = 0;
  for (;;) {
    let isSettled = true;
    for (let index = 0; index * refcountsPerBlock < ledger.counts.end; index += 1) {
      if (blocks.has(index) || !ledger.counts.hasAny(index * refcountsPerBlock, refcountsPerBlock)) continue;
      blocks.set(index, allocation.take());
      highest = Math.max(highest, index);
      isSettled = false;
    }
    const needed = divideUp((highest + 1) * tableEntrySize, clusterSize);
    if (needed * clusterSize > refcountTableLengthMax) return undefined;
    if (needed > tableClusters) {
      allocation.giveBack(table, tableClusters);
      table = allocation.takeRun(needed);
      tableClusters = needed;
      isSettled = false;
    }
    if (allocation.adoptBeyond()) isSettled = false;
    if (allocation.end > hostClustersMax) return undefined;
    if (isSettled) return { blocks, table, tableClusters };
  }
}

function* writeBlocks(
  rebuild: { readonly subject: CheckSubject; readonly ledger: ReferenceLedger; readonly pace: Pace },
  layout: Layout,
): Steps<void> {
  const { subject, ledger, pace } = rebuild;
  const { clusterSize, refcountsPerBlock, refcountOrder } = subject.geometry;
  const block = new Uint8Array(clusterSize);
  pace.expect(layout.blocks.size * clusterSize);
  for (const [index, cluster] of layout.blocks) {
    block.fill(0);
    const first = index * refcountsPerBlock;
    const count = Math.min(refcountsPerBlock, ledger.counts.end - first);
    for (let slot = 0; slot < count; slot += 1) {
      const references = ledger.counts.get(first + slot);
      if (references !== 0) writeRefcount(viewOf(block), refcountOrder, slot, references);
    }
    subject.file.writeAt(hostOffset(cluster * clusterSize), block);
    const pause = pace.spend(clusterSize);
    if (pause !== undefined) yield pause;
  }
}

function writeTable(subject: CheckSubject, layout: Layout): void {
  const { clusterSize } = subject.geometry;
  const table = new Uint8Array(layout.tableClusters * clusterSize);
  for (const [index, cluster] of layout.blocks)
    writeUint64(viewOf(table), index * tableEntrySize, cluster * clusterSize);
  subject.file.writeAt(hostOffset(layout.table * clusterSize), table);
}
