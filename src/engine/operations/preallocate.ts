// Gives a stretch of the disk its host clusters before anything is written there (CRE-05, OPS-18, SUB-10).

import { alignDown, alignUp } from '../../base/integers.ts';
import type { DataFile } from '../file/data-file.ts';
import { guestOffset, hostOffset } from '../format/offsets.ts';
import type { GuestOffset } from '../format/offsets.ts';
import type { WriteParts } from '../image-parts.ts';
import { allSubclusters, emptyEntry, ownedEntry, readEntry, sameEntry, writeEntry } from '../mapping/l2-entries.ts';
import { placesFor } from '../mapping/mapper.ts';
import { ensureOwnTable } from '../mapping/table-ownership.ts';
import type { ClusterRun } from '../metadata/refcount-tables.ts';
import type { CreateSpec } from './create-spec.ts';
import { stepLengthMax } from './steps.ts';
import type { Progress } from './steps.ts';

export interface PreallocateWish {
  /** Guest offsets; clusters that already have an entry keep it. */
  readonly start: number;
  readonly end: number;
  readonly mode: Exclude<CreateSpec['preallocation'], 'off'>;
  /** Extended entries say that their zeroes are data, else that what lies below shows (SUB-10); standard ones are data. */
  readonly isData: boolean;
}

/** How much is reserved by one step: reserving is cheap, unless the file system must write zeroes. */
const clustersPerStepMin = 1;

export function* preallocate(parts: WriteParts, wish: PreallocateWish): Generator<Progress, void, undefined> {
  const { geometry } = parts;
  const { clusterSize } = geometry;
  const clustersPerStep = Math.max(clustersPerStepMin, Math.floor(stepLengthMax / clusterSize));
  let at = alignDown(wish.start, clusterSize);
  const end = alignUp(wish.end, clusterSize);
  while (at < end) {
    const countMax = Math.min(clustersPerStep, (end - at) / clusterSize);
    at += preallocateSome(parts, guestOffset(at), { countMax, mode: wish.mode, isData: wish.isData });
    yield { done: at - wish.start, total: wish.end - wish.start };
  }
}

/** Fills the empty entries at `at`, within one L2 slice; returns how far it came, in bytes. */
function preallocateSome(
  parts: WriteParts,
  at: GuestOffset,
  work: { readonly countMax: number; readonly mode: PreallocateWish['mode']; readonly isData: boolean },
): number {
  const { geometry, mapping } = parts;
  const allocated = geometry.extendedL2 && work.isData ? allSubclusters : 0;
  const { clusterSize, l2Span } = geometry;
  const table = ensureOwnTable(parts, Math.floor(at / l2Span));
  const l2Index = Math.floor((at % l2Span) / clusterSize);
  const first = l2Index % mapping.entriesPerSlice;
  const slice = mapping.slice(table, l2Index);
  const isEmpty = (index: number): boolean => sameEntry(readEntry(slice.view, geometry, index), emptyEntry);
  if (!isEmpty(first)) return clusterSize;
  let wanted = 1;
  while (wanted < work.countMax && first + wanted < mapping.entriesPerSlice && isEmpty(first + wanted)) wanted += 1;
  const run = placesFor(parts, at, wanted);
  try {
    if (parts.dataFile === undefined) prepareClusters(parts, { run, at }, work.mode);
    else prepareDataFile(parts, parts.dataFile, { run, at, mode: work.mode });
  } catch (error) {
    if (parts.dataFile === undefined) parts.allocator.undo(run);
    throw error;
  }
  parts.order.dataWritten();
  for (let step = 0; step < run.count; step += 1) {
    const host = (run.first + step) * clusterSize;
    writeEntry(slice.view, geometry, first + step, ownedEntry(host, { zeroes: 0, allocated }));
  }
  mapping.markDirty(slice);
  return run.count * clusterSize;
}

/**
 * Clusters below the end of the file hold old bytes: they are overwritten with zeroes, whatever the mode (T06); of an
 * encrypted image all are, since what was never written there is noise to the guest. The file
 * reaches behind them before an entry names them: a reference beyond its end would be corruption, also after a cancel.
 */
function prepareClusters(
  parts: WriteParts,
  place: { readonly run: ClusterRun; readonly at: GuestOffset },
  mode: PreallocateWish['mode'],
): void {
  const { file, data, geometry } = parts;
  const { run, at } = place;
  const offset = run.first * geometry.clusterSize;
  const length = run.count * geometry.clusterSize;
  const old = mode === 'full' ? length : Math.max(0, Math.min(length, data.zeroesFrom - offset));
  if (old > 0) data.writeAt(hostOffset(offset), at, new Uint8Array(old));
  if (mode === 'falloc') file.preallocate(hostOffset(offset), length);
  if (file.size < offset + length) file.resize(offset + length);
}

/** The data file has its new length already, and nothing behind the old one but zeroes: a hole, if that will do. */
function prepareDataFile(
  parts: WriteParts,
  dataFile: DataFile,
  work: { readonly run: ClusterRun; readonly at: GuestOffset; readonly mode: PreallocateWish['mode'] },
): void {
  const { clusterSize } = parts.geometry;
  const offset = hostOffset(work.run.first * clusterSize);
  const length = Math.min(work.run.count * clusterSize, dataFile.size - offset);
  const isWritten = work.mode === 'full' || parts.encryption !== undefined;
  if (isWritten) parts.data.writeAt(offset, work.at, new Uint8Array(length));
  else if (work.mode === 'falloc') dataFile.preallocate(offset, length);
}
