// Opening an image: from a file to the parts that verbs work on.

import { assert } from '../../base/assert.ts';
import { Fault } from '../../base/fault.ts';
import type { FaultCode } from '../../base/fault-codes.ts';
import { OverlapCheck } from '../allocation/overlap-check.ts';
import type { OverlapArea, OverlapRules } from '../allocation/overlap-check.ts';
import { Allocator } from '../allocation/allocator.ts';
import { divideUp } from '../../base/integers.ts';
import { ImageLayer } from '../data/image-layer.ts';
import { DataFile } from '../file/data-file.ts';
import { NodeFile } from '../file/node-file.ts';
import type { FileLocks, NodeFileOptions } from '../file/node-file.ts';
import { TrackedFile } from '../file/tracked-file.ts';
import { l1EntrySize } from '../format/header.ts';
import { hostCluster } from '../format/offsets.ts';
import type { HostOffset } from '../format/offsets.ts';
import { EncryptedData, PlainData } from '../guest-data.ts';
import type { ImageParts, WriteParts } from '../image-parts.ts';
import type { SnapshotRecord } from '../format/snapshot-table.ts';
import type { Layer } from '../layer/layer.ts';
import { admitBacking, admitDataFile } from '../layer/open-gate.ts';
import type { BackingFile, DataFileSource } from '../layer/open-gate.ts';
import { RawLayer } from '../layer/raw-layer.ts';
import { DirtyBitmaps } from '../metadata/dirty-bitmaps.ts';
import { HeaderArea } from '../metadata/header-area.ts';
import type { CacheBudget, LimitedCache } from '../metadata/cache-budget.ts';
import type { CacheCleaning } from '../metadata/cache-cleaning.ts';
import { HostHoles } from '../metadata/host-holes.ts';
import { MappingTables } from '../metadata/mapping-tables.ts';
import type { ClusterRun } from '../metadata/refcount-tables.ts';
import { RefcountTables } from '../metadata/refcount-tables.ts';
import { SliceCache } from '../metadata/slice-cache.ts';
import type { SliceCacheParts } from '../metadata/slice-cache.ts';
import { SnapshotList } from '../metadata/snapshot-list.ts';
import { WriteOrder } from '../metadata/write-order.ts';
import { UnpackedClusters } from '../transform/unpacked-clusters.ts';
import { cacheSizesOf } from './cache-sizes.ts';
import type { CacheSize, CacheSizes } from './cache-sizes.ts';
import type { ChainKeys, EncryptedLayer } from './chain-keys.ts';
import type { RuntimeOptions } from './runtime-options.ts';
import { useVolumeKey } from './unlock.ts';

/** How the files of a chain are opened. */
export interface LayerOptions {
  readonly locks: FileLocks;
  /** What their caches share; undefined for as much as they want. */
  readonly caches: CacheBudget | undefined;
  /** How long they keep what nobody asks for; undefined for as long as there is room. */
  readonly cleaning: CacheCleaning | undefined;
  /** Learns of every encrypted layer; undefined when nobody will read through them. */
  readonly keys: ChainKeys | undefined;
  /** How far below the open image the first of the layers lies: 1. */
  readonly depth: number;
}

/** The layers below an image, opened read-only, nearest first; undefined without a backing name. */
export function openBacking(
  header: HeaderArea,
  chain: readonly BackingFile[],
  options: LayerOptions,
): Layer | undefined {
  const { backingName: fileName } = header;
  if (fileName === undefined) return undefined;
  const { file, below } = admitBacking({ fileName, format: header.extensions.backingFormat }, chain);
  return openLayer(file, below, options);
}

/** A chain, nearest first, as the layer that it is to an image above it; undefined for an empty one. */
export function openChain(chain: readonly BackingFile[], options: LayerOptions): Layer | undefined {
  const [file, ...below] = chain;
  return file === undefined ? undefined : openLayer(file, below, options);
}

function openLayer(source: BackingFile, below: readonly BackingFile[], options: LayerOptions): Layer {
  return openLayerOver(source, options, (header) =>
    openBacking(header, below, { ...options, depth: options.depth + 1 }),
  );
}

/** A file as a layer, over what is opened for it once its header is read; the layer closes that, too. */
export function openLayerOver(
  source: BackingFile,
  options: LayerOptions,
  openBelowIt: (header: HeaderArea) => Layer | undefined,
): Layer {
  const file = new TrackedFile(openBelow(source, options.locks));
  let backing: Layer | undefined;
  let dataFile: DataFile | undefined;
  try {
    if (source.format === 'raw') return new RawLayer(file);
    const header = HeaderArea.read(file, { forCheck: false });
    dataFile = openDataFile(header, source.dataFile, { writable: false, locks: options.locks });
    backing = openBelowIt(header);
    const parts = readParts(file, header, { backing, dataFile, cleaning: options.cleaning });
    if (parts.encryption !== undefined) {
      options.keys?.join({ depth: options.depth, path: source.path }, encryptedLayer(parts));
    }
    options.caches?.join(cachesOf(parts));
    return new ImageLayer(parts, {
      size: header.virtualSize,
      close: () => {
        options.caches?.leave(cachesOf(parts));
        backing?.close();
        dataFile?.close();
        file.close();
      },
    });
  } catch (error) {
    backing?.close();
    dataFile?.close();
    file.close();
    throw error;
  }
}

function encryptedLayer(parts: ImageParts): EncryptedLayer {
  return {
    parts,
    unlock: (volumeKey) => {
      useVolumeKey(parts, volumeKey);
    },
    lock: () => parts.encryption?.lock(),
  };
}

/** Fault `backing-missing` for a file that is not there. */
function openBelow(source: BackingFile, locks: FileLocks): NodeFile {
  const { fileName, path } = source;
  return openNamed('backing-missing', fileName, () => NodeFile.open(path, { writable: false, locks }));
}

/**
 * The external data file of an image that has one (DAT-03). Faults `data-file-refused` for any but the admitted one,
 * `data-file-missing`.
 */
export function openDataFile(
  header: HeaderArea,
  admitted: DataFileSource | undefined,
  options: Pick<NodeFileOptions, 'writable' | 'shares' | 'hostCopies'> & { readonly locks: FileLocks },
): DataFile | undefined {
  if (!header.hasDataFile) return undefined;
  const { fileName, path } = admitDataFile(header.extensions.dataFileName, admitted);
  const { writable, shares, hostCopies } = options;
  const locks = options.locks === 'qemu' ? 'qemu-data' : 'none';
  const use = { writable, locks, shares, hostCopies } as const;
  const file = openNamed('data-file-missing', fileName, () => NodeFile.open(path, use));
  return new DataFile(file);
}

/** A file that is not there is told by the name that stands for it. */
function openNamed(missing: FaultCode, fileName: string, open: () => NodeFile): NodeFile {
  try {
    return open();
  } catch (error) {
    if (!(error instanceof Fault) || error.context['systemCode'] !== 'ENOENT') throw error;
    throw new Fault(missing, { fileName });
  }
}

/** What an image is read with beside its own file. */
export interface Beside {
  /** The layer below; undefined without one. */
  readonly backing: Layer | undefined;
  /** Open exactly if the header says that there is one. */
  readonly dataFile: DataFile | undefined;
  /** How it is run; left out for what the engine does by itself. */
  readonly runtime?: RuntimeOptions | undefined;
  /** How long its caches keep what nobody asks for; left out for as long as there is room. */
  readonly cleaning?: CacheCleaning | undefined;
}

/** What reading needs. Faults of the tables. */
export function readParts(file: TrackedFile, header: HeaderArea, beside: Beside): ImageParts {
  const { l2 } = sizesOf(header, beside);
  const mappingCache = cacheOf(l2, { file, cleaning: beside.cleaning, beforeWrite: nothingToWrite });
  return sharedParts({ file, header, ...beside, mappingCache });
}

/** What changing needs on top; `file` is writable. */
export function writeParts(file: TrackedFile, header: HeaderArea, beside: Beside): WriteParts {
  const { geometry } = header;
  const { cleaning } = beside;
  const sizes = sizesOf(header, beside);
  const order: { current: WriteOrder | undefined } = { current: undefined };
  const beforeWrite = (): void => order.current?.beforeMapping();
  const mappingCache = cacheOf(sizes.l2, { file, cleaning, beforeWrite });
  // Refcounts may be written at any time: they were raised before their references, and are lowered after.
  const refcountCache = cacheOf(sizes.refcounts, { file, cleaning, beforeWrite: () => undefined });
  const shared = sharedParts({ file, header, ...beside, mappingCache });
  const refcounts = RefcountTables.read({
    file,
    geometry,
    cache: refcountCache,
    sliceLength: refcountCache.sliceLength,
    tableOffset: header.header.refcountTableOffset,
    tableClusters: header.header.refcountTableClusters,
  });
  const { mapping } = shared;
  const writeOrder = new WriteOrder({
    file,
    dataFile: beside.dataFile,
    geometry,
    header,
    refcounts,
    refcountCache,
    mapping,
    mappingCache,
    lazyRefcounts: beside.runtime?.lazyRefcounts,
  });
  order.current = writeOrder;
  const overlap = claimTables({ ...shared, refcounts }, beside.runtime ?? {});
  const allocator = new Allocator({
    file,
    geometry,
    header,
    refcounts,
    refcountCache,
    order: writeOrder,
    overlap,
  });
  // QEMU's defaults under `discard=unmap`.
  const { passDiscard = true, discardNoUnref = false } = beside.runtime ?? {};
  const givingBack = { passDiscard, discardNoUnref };
  return { ...shared, refcounts, refcountCache, order: writeOrder, overlap, allocator, givingBack };
}

function sizesOf(header: HeaderArea, { runtime = {} }: Beside): CacheSizes {
  return cacheSizesOf(runtime, header);
}

function cacheOf(
  { length, sliceLength }: CacheSize,
  parts: Pick<SliceCacheParts, 'file' | 'cleaning' | 'beforeWrite'>,
): SliceCache {
  return new SliceCache({ ...parts, sliceLength, slicesMax: length / sliceLength });
}

function sharedParts(
  open: Beside & {
    readonly file: TrackedFile;
    readonly header: HeaderArea;
    readonly mappingCache: SliceCache;
  },
): ImageParts {
  const { file, header, backing, dataFile, mappingCache } = open;
  const { geometry } = header;
  assert(geometry.externalData === (dataFile !== undefined), 'a data file is open if there is one');
  const { sliceLength } = mappingCache;
  const { l1TableOffset, l1Entries, compressionType, encryptionMethod, version } = header.header;
  const encryption =
    encryptionMethod === 0 ? undefined : new EncryptedData(dataFile ?? file, encryptionMethod === 2 ? 'host' : 'guest');
  return {
    file,
    geometry,
    version,
    header,
    backing,
    data: encryption ?? new PlainData(dataFile ?? file),
    dataFile,
    encryption,
    holes: encryption === undefined ? new HostHoles({ file, data: dataFile ?? file, header }) : undefined,
    mappingCache,
    mapping: MappingTables.read(
      { file, geometry, cache: mappingCache, sliceLength },
      { offset: l1TableOffset, entries: l1Entries },
    ),
    snapshots: SnapshotList.read(file, header.header, geometry),
    bitmaps: new DirtyBitmaps(file, header),
    unpacked: new UnpackedClusters({
      readAt: (offset, target) => {
        file.readAt(offset, target);
      },
      clusterSize: geometry.clusterSize,
      compressionType,
    }),
  };
}

/** What of an open image counts for a {@link CacheBudget}. */
export function cachesOf(parts: ImageParts | WriteParts): readonly LimitedCache[] {
  return 'refcountCache' in parts ? [parts.mappingCache, parts.refcountCache] : [parts.mappingCache];
}

/** The mapping tree of a snapshot over the same cache; what its L1 table has outside the file maps nothing. */
export function snapshotTree(parts: ImageParts, record: SnapshotRecord): MappingTables {
  const { file, geometry, mappingCache } = parts;
  const entriesInside = divideUp(Math.max(0, file.size - record.l1TableOffset), l1EntrySize);
  return MappingTables.read(
    { file, geometry, cache: mappingCache, sliceLength: mappingCache.sliceLength },
    { offset: record.l1TableOffset, entries: Math.min(record.l1Entries, entriesInside) },
  );
}

/** Claims the clusters of every table for the overlap check. */
function claimTables(parts: ImageParts & { readonly refcounts: RefcountTables }, rules: OverlapRules): OverlapCheck {
  const { geometry, header, mapping, refcounts, snapshots } = parts;
  const { clusterSize } = geometry;
  const overlap = new OverlapCheck({ clusterSize, rules, inactiveTables: () => inactiveTables(parts) });
  const seen = new Set<number>();
  // Tables that share a place are claimed once.
  const claimOnce = (offset: number, length: number, area: OverlapArea): void => {
    if (length <= 0 || seen.has(offset) || !overlap.guards(area)) return;
    seen.add(offset);
    overlap.claim(runOf(offset, length, clusterSize), area);
  };
  // What is only read, and lies beyond the end of the file, is not there.
  const claimInside = (offset: number, length: number, area: OverlapArea): void => {
    claimOnce(offset, Math.min(length, parts.file.size - offset), area);
  };
  overlap.claim({ first: hostCluster(0), count: 1 }, 'mainHeader');
  overlap.claim(refcounts.tableRun, 'refcountTable');
  for (const block of refcountBlocks(refcounts)) overlap.claim(runOf(block, 1, clusterSize), 'refcountBlock');
  // Whole: its slots behind the end are empty, and must stay so when the file grows.
  claimOnce(mapping.place.offset, mapping.place.entries * 8, 'activeL1');
  for (const table of mapping.l2Tables()) overlap.claim(runOf(table, 1, clusterSize), 'activeL2');
  claimInside(snapshots.place.offset, snapshots.place.length, 'snapshotTable');
  snapshots.forEachL1((offset, length) => {
    claimInside(offset, length, 'inactiveL1');
  });
  const { bitmaps } = header.extensions;
  if (bitmaps === undefined || !header.hasBitmaps) return overlap;
  claimInside(bitmaps.directoryOffset, bitmaps.directoryLength, 'bitmapDirectory');
  return overlap;
}

function* inactiveTables(parts: ImageParts): Generator<HostOffset, void, undefined> {
  for (let index = 0; index < parts.snapshots.count; index += 1) {
    yield* snapshotTree(parts, parts.snapshots.at(index)).l2Tables();
  }
}

/**
 * Where the refcount blocks lie. One block under two entries is refused: its counts would be those of other clusters, and
 * a small file could claim so many full blocks that the search for a free cluster never ends.
 */
function refcountBlocks(refcounts: RefcountTables): ReadonlySet<HostOffset> {
  const blocks = new Set<HostOffset>();
  const { blockEnd } = refcounts;
  for (let tableIndex = 0; tableIndex < blockEnd; tableIndex += 1) {
    if (!refcounts.hasBlock(tableIndex)) continue;
    const block = refcounts.blockOffset(tableIndex);
    if (blocks.has(block)) throw new Fault('refcount-entry-invalid', { tableIndex, hostOffset: block });
    blocks.add(block);
  }
  return blocks;
}

/** The clusters that a span of the file touches. */
export function runOf(offset: number, length: number, clusterSize: number): ClusterRun {
  const first = Math.floor(offset / clusterSize);
  return { first: hostCluster(first), count: divideUp(offset + length, clusterSize) - first };
}

function nothingToWrite(): void {
  throw new Fault('image-read-only', { reason: 'the image was opened for reading' });
}
