// A small sound image with one of everything, built from the codecs, for tests that then break a piece of it.

import { deflateRawSync } from 'node:zlib';

import { viewOf } from '../../src/engine/format/big-endian.ts';
import { emptyMask, withBit } from '../../src/engine/format/features.ts';
import { geometryOf } from '../../src/engine/format/geometry.ts';
import type { Geometry } from '../../src/engine/format/geometry.ts';
import { encodeExtensions, noExtensions } from '../../src/engine/format/header-extensions.ts';
import { encodeHeader } from '../../src/engine/format/header.ts';
import type { Header } from '../../src/engine/format/header.ts';
import { encodeCompressed } from '../../src/engine/format/l2-entry.ts';
import { hostOffset } from '../../src/engine/format/offsets.ts';
import { writeRefcount } from '../../src/engine/format/refcount-block.ts';
import { encodeSnapshotEntry, newSnapshotRecord } from '../../src/engine/format/snapshot-table.ts';

/** Which host cluster of the image holds what. */
export const place = {
  header: 0,
  refcountTable: 1,
  refcountBlock: 2,
  l1Table: 3,
  l2Table: 4,
  dataOne: 5,
  dataTwo: 6,
  blobs: 7,
  snapshotTable: 8,
  snapshotL1: 9,
  bitmapDirectory: 10,
  bitmapTable: 11,
  clusterCount: 12,
} as const;

/** What the image is built with. */
export interface SoundChoice {
  readonly version: 2 | 3;
  readonly clusterBits: number;
  readonly extendedL2: boolean;
  readonly refcountOrder: number;
  readonly zstd: boolean;
}

/** An image in memory, to be broken. */
export interface DraftImage {
  readonly geometry: Geometry;
  bytes: Uint8Array;
}

export const commonChoice: SoundChoice = {
  version: 3,
  clusterBits: 12,
  extendedL2: false,
  refcountOrder: 4,
  zstd: false,
};

/** Sound images of other kinds, by name. */
export const soundChoices: readonly (readonly [string, Partial<SoundChoice>])[] = [
  ['common', {}],
  ['version 2', { version: 2 }],
  ['clusters of 512 bytes', { clusterBits: 9 }],
  ['clusters of 64 KiB', { clusterBits: 16 }],
  ['extended L2 entries', { clusterBits: 14, extendedL2: true }],
  ['refcounts of 8 bits', { refcountOrder: 3 }],
  ['refcounts of 64 bits', { refcountOrder: 6 }],
  ['zstd', { zstd: true }],
];

/** Guest clusters of the image; the entries behind the first four are empty. */
export const guestClusters = 64;

/**
 * A sound image: guest clusters 0 and 1 are data, 2 and 3 compressed; a snapshot shares the one L2 table; version 3
 * has a consistent bitmap without content.
 */
export function soundImage(choice: SoundChoice): DraftImage {
  const geometry = geometryOf(choice);
  const draft = { geometry, bytes: new Uint8Array(place.clusterCount * geometry.clusterSize) };
  putHeader(draft, choice);
  putMapping(draft, choice);
  putSnapshot(draft);
  if (choice.version === 3) putBitmap(draft);
  putRefcounts(draft, choice);
  return draft;
}

/** The file offset of byte `plus` of a place. */
export function at(draft: DraftImage, cluster: number, plus: number): number {
  return cluster * draft.geometry.clusterSize + plus;
}

export function setUint64(draft: DraftImage, offset: number, value: bigint): void {
  viewOf(draft.bytes).setBigUint64(offset, value);
}

export function setUint32(draft: DraftImage, offset: number, value: number): void {
  viewOf(draft.bytes).setUint32(offset, value);
}

/** Sets L2 entry `index`; with extended entries the first of its two words. */
export function setL2Entry(draft: DraftImage, index: number, value: bigint): void {
  setUint64(draft, at(draft, place.l2Table, index * draft.geometry.l2EntrySize), value);
}

function headerOf(draft: DraftImage, choice: SoundChoice): Header {
  const cluster = draft.geometry.clusterSize;
  const incompatible = withBit(withBit(emptyMask, 4, choice.extendedL2), 3, choice.zstd);
  return {
    version: choice.version,
    backingNameOffset: 0,
    backingNameLength: 0,
    clusterBits: choice.clusterBits,
    size: Math.min(guestClusters, draft.geometry.l2Entries) * cluster,
    encryptionMethod: 0,
    l1Entries: 1,
    l1TableOffset: hostOffset(place.l1Table * cluster),
    refcountTableOffset: hostOffset(place.refcountTable * cluster),
    refcountTableClusters: 1,
    snapshotCount: 1,
    snapshotsOffset: hostOffset(place.snapshotTable * cluster),
    incompatible,
    compatible: emptyMask,
    autoclear: withBit(emptyMask, 0, choice.version === 3),
    refcountOrder: choice.refcountOrder,
    length: choice.version === 3 ? 112 : 72,
    compressionType: choice.zstd ? 1 : 0,
    unknownFields: new Uint8Array(0),
  };
}

function putHeader(draft: DraftImage, choice: SoundChoice): void {
  const header = encodeHeader(headerOf(draft, choice));
  draft.bytes.set(header);
  if (choice.version === 2) return;
  const cluster = draft.geometry.clusterSize;
  const bitmaps = {
    count: 1,
    reserved: 0,
    directoryLength: 32,
    directoryOffset: hostOffset(place.bitmapDirectory * cluster),
  };
  draft.bytes.set(encodeExtensions({ ...noExtensions, bitmaps }, { named: false }), header.length);
}

function putMapping(draft: DraftImage, choice: SoundChoice): void {
  const cluster = draft.geometry.clusterSize;
  const l2Table = BigInt(place.l2Table * cluster);
  // Shared with the snapshot, so nothing is owned.
  setUint64(draft, at(draft, place.l1Table, 0), l2Table);
  setUint64(draft, at(draft, place.snapshotL1, 0), l2Table);
  setL2Entry(draft, 0, BigInt(place.dataOne * cluster));
  setL2Entry(draft, 1, BigInt(place.dataTwo * cluster));
  if (choice.extendedL2) {
    for (const index of [0, 1]) setUint64(draft, at(draft, place.l2Table, index * 16 + 8), 0xffff_ffffn);
  }
  draft.bytes.fill(0x11, at(draft, place.dataOne, 0), at(draft, place.dataTwo, 0));
  draft.bytes.fill(0x22, at(draft, place.dataTwo, 0), at(draft, place.blobs, 0));
  const blob = choice.zstd ? zstdBlob(cluster) : deflateRawSync(new Uint8Array(cluster).fill(0x33), { windowBits: 12 });
  for (const index of [0, 1]) {
    const offset = at(draft, place.blobs, index * blob.length);
    draft.bytes.set(blob, offset);
    const { high, low } = encodeCompressed({ offset, length: blob.length }, draft.geometry);
    setL2Entry(draft, 2 + index, (BigInt(high) << 32n) | BigInt(low));
  }
}

/** One zstd frame of a single run-length block: `length` bytes of 0x33. */
export function zstdBlob(length: number): Uint8Array {
  const frame = new Uint8Array(13);
  const view = new DataView(frame.buffer);
  view.setUint32(0, 0xfd2f_b528, true);
  // Single segment with a content size of 4 bytes.
  view.setUint8(4, 0xa0);
  view.setUint32(5, length, true);
  // Last block, run length, so many bytes: 24 bits, little-endian.
  const block = 1 | (1 << 1) | (length << 3);
  frame.set([block & 0xff, (block >>> 8) & 0xff, (block >>> 16) & 0xff, 0x33], 9);
  return frame;
}

function putSnapshot(draft: DraftImage): void {
  const cluster = draft.geometry.clusterSize;
  const virtualSize = Math.min(guestClusters, draft.geometry.l2Entries) * cluster;
  const record = newSnapshotRecord({
    l1TableOffset: hostOffset(place.snapshotL1 * cluster),
    l1Entries: 1,
    id: '1',
    name: 'abc',
    seconds: 1_700_000_000,
    nanoseconds: 0,
    vmClock: emptyMask,
    vmStateSize: 0,
    virtualSize,
    icount: emptyMask,
  });
  draft.bytes.set(encodeSnapshotEntry(record, virtualSize), at(draft, place.snapshotTable, 0));
}

/** BMP-01: one bitmap named "b" of one table entry, all zeroes. */
function putBitmap(draft: DraftImage): void {
  const entry = at(draft, place.bitmapDirectory, 0);
  setUint64(draft, entry, BigInt(at(draft, place.bitmapTable, 0)));
  setUint32(draft, entry + 8, 1);
  setUint32(draft, entry + 12, 2);
  draft.bytes.set([1, 16, 0, 1], entry + 16);
  draft.bytes[entry + 24] = 'b'.charCodeAt(0);
}

function putRefcounts(draft: DraftImage, choice: SoundChoice): void {
  setUint64(draft, at(draft, place.refcountTable, 0), BigInt(at(draft, place.refcountBlock, 0)));
  const start = at(draft, place.refcountBlock, 0);
  const block = viewOf(draft.bytes.subarray(start, start + draft.geometry.clusterSize));
  const shared = new Map<number, number>([
    [place.l2Table, 2],
    [place.dataOne, 2],
    [place.dataTwo, 2],
    // Two blobs, each in two trees.
    [place.blobs, 4],
  ]);
  const clusters = choice.version === 3 ? place.clusterCount : place.bitmapDirectory;
  for (let cluster = 0; cluster < clusters; cluster += 1) {
    writeRefcount(block, choice.refcountOrder, cluster, shared.get(cluster) ?? 1);
  }
}
