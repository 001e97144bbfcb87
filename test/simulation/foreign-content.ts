// What other tools leave in an image and the engine itself does not make: blobs, VM state, bitmaps.

import { deflateRawSync } from 'node:zlib';

import { divideUp } from '../../src/base/integers.ts';
import type { MemoryFile } from '../../src/engine/file/memory-file.ts';
import { TrackedFile } from '../../src/engine/file/tracked-file.ts';
import { viewOf, writeUint64 } from '../../src/engine/format/big-endian.ts';
import { bitmapAutoFlag } from '../../src/engine/format/bitmap-directory.ts';
import { autoclearBits, withBit } from '../../src/engine/format/features.ts';
import { l1EntriesFor } from '../../src/engine/format/geometry.ts';
import { encodeExtensions, namesFeatures } from '../../src/engine/format/header-extensions.ts';
import { encodeHeader } from '../../src/engine/format/header.ts';
import { encodeCompressed } from '../../src/engine/format/l2-entry.ts';
import { guestOffset, hostCluster, hostOffset } from '../../src/engine/format/offsets.ts';
import { encodeSnapshotEntry } from '../../src/engine/format/snapshot-table.ts';
import { Image } from '../../src/engine/image.ts';
import type { WriteParts } from '../../src/engine/image-parts.ts';
import { setEntry } from '../../src/engine/mapping/mapper.ts';
import { referencesOf } from '../../src/engine/mapping/references.ts';
import { ensureOwnTable } from '../../src/engine/mapping/table-ownership.ts';
import { HeaderArea } from '../../src/engine/metadata/header-area.ts';
import type { ClusterRun } from '../../src/engine/metadata/refcount-tables.ts';
import { runOf, snapshotTree, writeParts } from '../../src/engine/operations/open.ts';
import { runToEnd } from '../../src/engine/operations/steps.ts';
import type { Prng } from '../support/prng.ts';

export type Foreign = 'blobs' | 'vm-state' | 'bitmaps';

/** Puts it into a sound image without a backing file. */
export function addForeign(file: MemoryFile, foreign: Foreign, chance: Prng): void {
  if (foreign !== 'blobs') writeStart(file, { chance, takesSnapshot: foreign === 'vm-state' });
  const tracked = new TrackedFile(file);
  const parts = writeParts(tracked, HeaderArea.read(tracked, { forCheck: false }), {
    backing: undefined,
    dataFile: undefined,
  });
  if (foreign === 'blobs') addBlobs(parts, chance);
  if (foreign === 'vm-state') addVmState(parts, chance);
  if (foreign === 'bitmaps') addBitmaps(parts, chance);
  parts.order.settle();
}

/** Blobs one behind the other, as `convert -c` packs them: they share clusters and cross their ends (CMP-06). */
function addBlobs(parts: WriteParts, chance: Prng): void {
  const { clusterSize, l2Span } = parts.geometry;
  const count = Math.floor(parts.header.virtualSize / clusterSize / 2);
  const blobs = Array.from({ length: count }, () => {
    const content = new Uint8Array(clusterSize).fill(1 + chance.below(255));
    content.set(chance.bytes(chance.below(clusterSize / 2)));
    return deflateRawSync(content, { windowBits: 12 });
  });
  const run = writeRun(parts, Buffer.concat(blobs));
  const named = new Map<number, number>();
  let offset = run.first * clusterSize;
  for (const [index, blob] of blobs.entries()) {
    const entry = { ...encodeCompressed({ offset, length: blob.length }, parts.geometry), zeroes: 0, allocated: 0 };
    offset += blob.length;
    const at = index * 2 * clusterSize;
    const table = ensureOwnTable(parts, Math.floor(at / l2Span));
    setEntry(parts, { table, l2Index: (at % l2Span) / clusterSize }, entry);
    const touched = referencesOf(entry, parts) ?? { first: 0, count: 0 };
    for (let cluster = 0; cluster < touched.count; cluster += 1) {
      const key = touched.first + cluster;
      named.set(key, (named.get(key) ?? 0) + 1);
    }
  }
  for (const [cluster, times] of named) {
    for (let more = 1; more < times; more += 1) parts.allocator.share({ first: hostCluster(cluster), count: 1 });
  }
}

function writeStart(file: MemoryFile, wish: { readonly chance: Prng; readonly takesSnapshot: boolean }): void {
  const image = Image.openFile(file, { writable: true, backing: undefined });
  image.write(guestOffset(0), wish.chance.bytes(Math.floor(image.virtualSize / 3)), { detectZeroes: false });
  if (wish.takesSnapshot) {
    runToEnd(image.createSnapshot({ name: 'vm', seconds: 1_700_000_000, nanoseconds: 0, idFloor: 1 }));
  }
  image.close();
}

/** The snapshot's L1 table goes on behind the disk, where QEMU keeps the state of the machine (SNT-06). */
function addVmState(parts: WriteParts, chance: Prng): void {
  const { geometry, snapshots, header, order } = parts;
  const { clusterSize } = geometry;
  const record = snapshots.at(0);
  const vmStateSize = 3 * clusterSize - 5;
  const state = writeRun(parts, chance.bytes(vmStateSize));
  const table = new Uint8Array(clusterSize);
  for (let index = 0; index < state.count; index += 1) {
    writeUint64(viewOf(table), index * 8, (state.first + index) * clusterSize);
  }
  const tableRun = writeRun(parts, table);
  const first = l1EntriesFor(geometry, header.virtualSize);
  const l1 = snapshotTree(parts, record).copyOfL1(first + 2);
  writeUint64(viewOf(l1), first * 8, tableRun.first * clusterSize);
  const l1TableOffset = hostOffset(writeRun(parts, l1).first * clusterSize);
  const withState = { ...record, l1TableOffset, l1Entries: first + 2, vmStateSize };
  parts.file.writeAt(snapshots.place.offset, encodeSnapshotEntry(withState, header.virtualSize));
  order.drop(runOf(record.l1TableOffset, record.l1Entries * 8, clusterSize), { punch: false });
}

/** The bitmaps that {@link addBitmaps} leaves. */
export const foreignBitmapNames = ['a', 'b'] as const;

/** One bitmap of ones and one with a cluster of bits that records fine, both stored in good order (BMP-01…BMP-05). */
function addBitmaps(parts: WriteParts, chance: Prng): void {
  const { header, geometry } = parts;
  const { clusterSize } = geometry;
  const tables = [new Uint8Array(8), new Uint8Array(8)] as const;
  writeUint64(viewOf(tables[0]), 0, 1);
  writeUint64(viewOf(tables[1]), 0, writeRun(parts, chance.bytes(clusterSize)).first * clusterSize);
  const entryLength = 32;
  const directory = new Uint8Array(tables.length * entryLength);
  const view = viewOf(directory);
  for (const [index, table] of tables.entries()) {
    const at = index * entryLength;
    writeUint64(view, at, writeRun(parts, table).first * clusterSize);
    view.setUint32(at + 8, 1);
    view.setUint8(at + 16, 1);
    view.setUint32(at + 12, bitmapAutoFlag);
    view.setUint8(at + 17, index === 0 ? 16 : 9);
    view.setUint16(at + 18, 1);
    view.setUint8(at + 24, 0x61 + index);
  }
  const directoryOffset = hostOffset(writeRun(parts, directory).first * clusterSize);
  const bitmaps = { count: tables.length, reserved: 0, directoryLength: directory.length, directoryOffset };
  const named = namesFeatures(3, clusterSize);
  const extensions = encodeExtensions({ ...header.extensions, bitmaps }, { named });
  const autoclear = withBit(header.header.autoclear, autoclearBits.bitmaps, true);
  parts.file.writeAt(hostOffset(0), Buffer.concat([encodeHeader({ ...header.header, autoclear }), extensions]));
}

/** Writes bytes into new clusters in a row. */
function writeRun(parts: WriteParts, bytes: Uint8Array): ClusterRun {
  const { clusterSize } = parts.geometry;
  const run = parts.allocator.allocateRun(divideUp(bytes.length, clusterSize));
  const whole = new Uint8Array(run.count * clusterSize);
  whole.set(bytes);
  parts.file.writeAt(hostOffset(run.first * clusterSize), whole);
  return run;
}
