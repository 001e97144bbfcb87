// A sound little image with a snapshot, made without QEMU, for tests that damage it.

import { createImage } from '../../src/engine/operations/create.ts';
import { MemoryFile } from '../../src/engine/file/memory-file.ts';
import { hostOffset } from '../../src/engine/format/offsets.ts';
import { runToEnd } from '../../src/engine/operations/steps.ts';
import { ImageBytes } from './image-bytes.ts';
import { plainSpec } from './plain-spec.ts';

export const clusterSize = 4096;
/** Guest clusters of the disk; all have data of their own. */
export const guestClusters = 16;

const owned = 0x8000_0000_0000_0000n;

/** An image whose guest cluster n holds bytes of the value n + 1. */
export function soundImage(): ImageBytes {
  const file = MemoryFile.empty();
  const virtualSize = guestClusters * clusterSize;
  runToEnd(createImage(file, { ...plainSpec, virtualSize, clusterSize, preallocation: 'metadata' }));
  const image = ImageBytes.of(bytesOf(file));
  for (let guest = 0; guest < guestClusters; guest += 1)
    image.fill(image.target(image.l2At(guest)), clusterSize, guest + 1);
  return image;
}

/** The same with a snapshot "s": every cluster of the tree is shared. */
export function imageWithSnapshot(): ImageBytes {
  const image = soundImage();
  const table = image.endCluster * clusterSize;
  const l1Copy = table + clusterSize;
  image.resize(l1Copy + clusterSize);
  const l2Table = image.target(image.l1At(0));
  image.setU64(image.l1At(0), BigInt(l2Table));
  image.setU64(l1Copy, BigInt(l2Table));
  image.setRefcount(image.cluster(l2Table), 2);
  for (let guest = 0; guest < guestClusters; guest += 1) {
    const at = image.l2At(guest);
    image.setU64(at, image.u64(at) & ~owned);
    image.setRefcount(image.cluster(image.target(at)), 2);
  }
  writeSnapshotEntry(image, { at: table, l1Offset: l1Copy, l1Entries: 1, extraLength: 24 });
  image.setRefcount(image.cluster(table), 1);
  image.setRefcount(image.cluster(l1Copy), 1);
  image.setU32(60, 1);
  image.setU64(64, BigInt(table));
  return image;
}

/** Id and name are "1" and "s". */
export function writeSnapshotEntry(
  image: ImageBytes,
  entry: { readonly at: number; readonly l1Offset: number; readonly l1Entries: number; readonly extraLength: number },
): void {
  const { at, extraLength } = entry;
  image.setU64(at, BigInt(entry.l1Offset));
  image.setU32(at + 8, entry.l1Entries);
  image.setU32(at + 12, 0x0001_0001);
  image.setU32(at + 36, extraLength);
  if (extraLength >= 16) image.setU64(at + 48, BigInt(guestClusters * clusterSize));
  image.fill(at + 40 + extraLength, 1, 0x31);
  image.fill(at + 40 + extraLength + 1, 1, 0x73);
}

/** What the guest reads: the first byte of every cluster, 0 where it has none; -1 where it lies outside the file. */
export function guestBytes(image: ImageBytes): readonly number[] {
  const l2Table = image.target(image.l1At(0));
  return Array.from({ length: guestClusters }, (_, guest) => {
    const place = image.target(l2Table + guest * 8);
    if (place === 0 || (image.u64(l2Table + guest * 8) & 1n) !== 0n) return 0;
    return place < image.length ? (image.bytes[place] ?? -1) : -1;
  });
}

/** The L1 entries that the snapshots of an image lead to. */
export function snapshotsOf(image: ImageBytes): readonly bigint[] {
  return Array.from({ length: image.u32(60) }, (_, index) => image.u64(Number(image.u64(image.snapshotAt(index)))));
}

export function bytesOf(file: MemoryFile): Uint8Array {
  const bytes = new Uint8Array(file.size);
  file.readAt(hostOffset(0), bytes);
  return bytes;
}
