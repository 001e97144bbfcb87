// Every L2 table of an image once, whichever trees use it: the active one and those of the snapshots.

import { hostCluster } from '../format/offsets.ts';
import type { HostOffset } from '../format/offsets.ts';
import type { WriteParts } from '../image-parts.ts';
import type { MappingTables } from '../metadata/mapping-tables.ts';
import { snapshotTree } from './open.ts';

export interface FoundTable {
  readonly table: HostOffset;
  /** In which slot of its L1 tables: what a table maps is the same in all trees. */
  readonly l1Index: number;
  /** How many L1 tables name it. */
  readonly users: number;
}

/** Undefined where another stretch of slots names nothing new: a pause for whoever works in steps. */
export function* allTables(parts: WriteParts): Generator<FoundTable | undefined, void, undefined> {
  const { geometry, refcounts } = parts;
  const seen = new Set<number>();
  for (const tree of treesOf(parts)) {
    for (let l1Index = 0; l1Index < tree.l1Entries; l1Index += 1) {
      if (l1Index % slotsPerPause === slotsPerPause - 1) yield undefined;
      const table = tree.l2Table(l1Index);
      if (table === undefined || seen.has(table)) continue;
      seen.add(table);
      const users = Math.max(1, refcounts.get(hostCluster(table / geometry.clusterSize)));
      yield { table, l1Index, users };
    }
    yield undefined;
  }
}

const slotsPerPause = 65_536;

function* treesOf(parts: WriteParts): Generator<MappingTables, void, undefined> {
  yield parts.mapping;
  for (let index = 0; index < parts.snapshots.count; index += 1) yield snapshotTree(parts, parts.snapshots.at(index));
}
