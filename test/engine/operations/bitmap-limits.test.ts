// As many bitmaps as the format allows (BMP-05, LIM-04).

import assert from 'node:assert/strict';
import { it } from 'node:test';

import { encodeBitmapDirectory } from '../../../src/engine/format/bitmap-directory.ts';
import { bytesOf } from '../../../src/engine/format/header-extensions.ts';
import { hostOffset } from '../../../src/engine/format/offsets.ts';
import { runToEnd } from '../../../src/engine/operations/steps.ts';
import { faultCodeOf } from '../../support/faults.ts';
import { ImageBytes } from '../../support/image-bytes.ts';
import { clean, countsOf, fileBytes, imageOver, newFile } from '../../support/memory-parts.ts';
import { MemoryFile } from '../../../src/engine/file/memory-file.ts';

const bitmapsExtension = 0x2385_2875;
const countMax = 65_535;

/** 65,535 bitmaps that somebody left in use. Their tables hold nothing, so that one cluster of zeroes can be all of them. */
function fullImage(): MemoryFile {
  const file = newFile({ virtualSize: 1 << 20, clusterSize: 65_536 });
  const image = imageOver(file, undefined);
  image.createBitmap({ name: 'first', granularity: undefined, enabled: false });
  image.close();
  const bytes = ImageBytes.of(fileBytes(file));
  const extension = bytes.extensionAt(bitmapsExtension);
  const tableOffset = Number(bytes.u64(Number(bytes.u64(extension + 16))));
  const directory = encodeBitmapDirectory(
    Array.from({ length: countMax }, (_, index) => ({
      nameBytes: bytesOf(`b${index}`),
      extra: new Uint8Array(0),
      tableOffset: hostOffset(tableOffset),
      tableEntries: 1,
      flags: 1,
      granularityBits: 16,
    })),
  );
  const first = bytes.endCluster;
  const clusters = Math.ceil(directory.length / bytes.clusterSize);
  bytes.setRefcount(bytes.cluster(Number(bytes.u64(extension + 16))), 0);
  bytes.setRefcount(bytes.cluster(tableOffset), countMax);
  bytes.resize((first + clusters) * bytes.clusterSize);
  for (let index = 0; index < clusters; index += 1) bytes.setRefcount(first + index, 1);
  bytes.setU32(extension, countMax);
  bytes.setU64(extension + 8, BigInt(directory.length));
  bytes.setU64(extension + 16, BigInt(first * bytes.clusterSize));
  const whole = bytes.bytes;
  whole.set(directory, first * bytes.clusterSize);
  return MemoryFile.of(whole);
}

it('an image has 65,535 bitmaps and not one more', () => {
  const file = fullImage();
  assert.deepEqual(countsOf(file), clean);
  const image = imageOver(file, undefined);
  const last = runToEnd(image.bitmaps({ start: countMax - 1, limit: 10 }));
  assert.deepEqual([last.items.map(({ name }) => name), last.next], [[`b${countMax - 1}`], undefined]);
  const create = (): unknown => image.createBitmap({ name: 'more', granularity: undefined, enabled: true });
  assert.equal(faultCodeOf(create), 'unsupported-option');
  image.deleteBitmap('b7');
  create();
  assert.equal(
    faultCodeOf(() => image.createBitmap({ name: 'b7', granularity: undefined, enabled: true })),
    'unsupported-option',
  );
  image.close();
  assert.deepEqual(countsOf(file), clean);
});
