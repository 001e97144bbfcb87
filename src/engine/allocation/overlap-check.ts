// Nothing but its owner writes metadata: the host clusters of all tables, kept as a set (OPT-11, T51).

import { Fault } from '../../base/fault.ts';
import { divideUp } from '../../base/integers.ts';
import type { HostOffset } from '../format/offsets.ts';
import type { ClusterRun } from '../metadata/refcount-tables.ts';

/** Clusters of one word of the set; small enough for a small integer. */
const clustersPerWord = 30;

/** A sparse set of host clusters. */
class ClusterSet {
  readonly #words = new Map<number, number>();

  has(cluster: number): boolean {
    const word = this.#words.get(Math.floor(cluster / clustersPerWord)) ?? 0;
    return ((word >>> (cluster % clustersPerWord)) & 1) === 1;
  }

  add(cluster: number): void {
    const key = Math.floor(cluster / clustersPerWord);
    this.#words.set(key, (this.#words.get(key) ?? 0) | (1 << (cluster % clustersPerWord)));
  }

  delete(cluster: number): void {
    const key = Math.floor(cluster / clustersPerWord);
    const word = (this.#words.get(key) ?? 0) & ~(1 << (cluster % clustersPerWord));
    if (word === 0) this.#words.delete(key);
    else this.#words.set(key, word);
  }
}

/** What is guarded, in QEMU's words; each has what the one before has, and more. */
export type OverlapTemplate = 'none' | 'constant' | 'cached' | 'all';

/** What can be guarded, each by itself, in QEMU's words. */
export type OverlapArea = keyof typeof areaTemplates;

/** The first template that guards an area; those that have more guard it, too. */
const areaTemplates = {
  mainHeader: 'constant',
  activeL1: 'constant',
  refcountTable: 'constant',
  snapshotTable: 'constant',
  bitmapDirectory: 'constant',
  activeL2: 'cached',
  refcountBlock: 'cached',
  inactiveL1: 'cached',
  inactiveL2: 'all',
} as const satisfies Readonly<Record<string, OverlapTemplate>>;

const templates: readonly OverlapTemplate[] = ['none', 'constant', 'cached', 'all'];

/** Each undefined for QEMU's own choice. */
export interface OverlapRules {
  /** `cached` unless said otherwise. */
  readonly overlapCheck?: OverlapTemplate | undefined;
  /** Areas that are guarded, or not, whatever the template says. */
  readonly overlapAreas?: { readonly [Area in OverlapArea]?: boolean | undefined } | undefined;
}

function guards({ overlapCheck = 'cached', overlapAreas }: OverlapRules, area: OverlapArea): boolean {
  return overlapAreas?.[area] ?? templates.indexOf(areaTemplates[area]) <= templates.indexOf(overlapCheck);
}

/** Where the L2 tables of snapshots lie, as the file has them now. */
export type InactiveTables = () => Iterable<HostOffset>;

/**
 * A cluster that two owners claim belongs to a broken image: neither may write it. Where the L2 tables of snapshots are
 * guarded, they are read anew for the first change after every change of the snapshots.
 */
export class OverlapCheck {
  readonly #clusterSize: number;
  readonly #rules: OverlapRules;
  readonly #guardsInactive: boolean;
  readonly #inactiveTables: InactiveTables;
  readonly #claimed = new ClusterSet();
  readonly #disputed = new ClusterSet();
  #inactive: ClusterSet | undefined;
  #hasDisputes = false;

  constructor(parts: {
    readonly clusterSize: number;
    readonly rules: OverlapRules;
    readonly inactiveTables: InactiveTables;
  }) {
    this.#clusterSize = parts.clusterSize;
    this.#rules = parts.rules;
    this.#guardsInactive = guards(parts.rules, 'inactiveL2');
    this.#inactiveTables = parts.inactiveTables;
  }

  /** Whether anything is refused for the sake of such a table. */
  guards(area: OverlapArea): boolean {
    return guards(this.#rules, area);
  }

  /** The snapshots are others than before. */
  snapshotsChanged(): void {
    this.#inactive = undefined;
  }

  /** A table takes these clusters. */
  claim(run: ClusterRun, area: OverlapArea): void {
    if (!this.guards(area)) return;
    for (let cluster: number = run.first; cluster < run.first + run.count; cluster += 1) {
      if (this.#claimed.has(cluster)) {
        this.#disputed.add(cluster);
        this.#hasDisputes = true;
      }
      this.#claimed.add(cluster);
    }
  }

  /** A table gives these clusters up. */
  release(run: ClusterRun, area: OverlapArea): void {
    if (!this.guards(area)) return;
    for (let cluster: number = run.first; cluster < run.first + run.count; cluster += 1) {
      if (!this.#disputed.has(cluster)) this.#claimed.delete(cluster);
    }
  }

  /** Guest data may be written to this span of the file, in bytes. Fault `metadata-overlap`. */
  admitData(offset: number, length: number): void {
    const end = divideUp(offset + length, this.#clusterSize);
    for (let cluster = Math.floor(offset / this.#clusterSize); cluster < end; cluster += 1) this.#admit(cluster);
  }

  /** An active L2 table at `offset` may be changed. Fault `metadata-overlap`. */
  admitActiveTable(offset: number): void {
    const cluster = Math.floor(offset / this.#clusterSize);
    this.admitTable(offset);
    if (this.#isInactiveTable(cluster)) this.#refuse(cluster);
  }

  /** A table at `offset` may be changed by its owner. Fault `metadata-overlap`. */
  admitTable(offset: number): void {
    if (!this.#hasDisputes) return;
    const cluster = Math.floor(offset / this.#clusterSize);
    if (this.#disputed.has(cluster)) this.#refuse(cluster);
  }

  /** The allocator found these clusters free, so no table may lie there, nor in any case the header. Fault `metadata-overlap`. */
  admitAllocation(run: ClusterRun): void {
    if (run.first === 0) this.#refuse(0);
    for (let cluster: number = run.first; cluster < run.first + run.count; cluster += 1) this.#admit(cluster);
  }

  #admit(cluster: number): void {
    if (this.#claimed.has(cluster) || this.#isInactiveTable(cluster)) this.#refuse(cluster);
  }

  #isInactiveTable(cluster: number): boolean {
    if (!this.#guardsInactive) return false;
    this.#inactive ??= this.#findInactive();
    return this.#inactive.has(cluster);
  }

  #findInactive(): ClusterSet {
    const found = new ClusterSet();
    for (const table of this.#inactiveTables()) found.add(Math.floor(table / this.#clusterSize));
    return found;
  }

  #refuse(cluster: number): never {
    throw new Fault('metadata-overlap', { hostOffset: cluster * this.#clusterSize });
  }
}
