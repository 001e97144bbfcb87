// The LUKS area in a check: it is counted, and where it may hold less than all key material nothing is freed (ENC-02, REF-04).

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, describe, it } from 'node:test';

import { MemoryFile } from '../../../src/engine/file/memory-file.ts';
import { guestOffset } from '../../../src/engine/format/offsets.ts';
import { Image } from '../../../src/engine/image.ts';
import { check } from '../../../src/engine/operations/check.ts';
import { repair } from '../../../src/engine/operations/repair.ts';
import { runToEnd } from '../../../src/engine/operations/steps.ts';
import { deriveHere } from '../../../src/engine/transform/key-derivation.ts';
import { faultCodeOf } from '../../support/faults.ts';
import { ImageBytes } from '../../support/image-bytes.ts';
import { makeLuksImage } from '../../support/luks-image.ts';
import { fileBytes } from '../../support/memory-parts.ts';
import { tempFolder } from '../../support/temp-folder.ts';

/** An image that says LUKS and has no LUKS header; the info of older QEMU crashed over one (ENC-07, by the documents). */
it('is told without its LUKS header, and its disk stays shut', () => {
  using folder = tempFolder();
  const path = join(folder.path, 'image.qcow2');
  const bare = ImageBytes.of(sound);
  bare.setU32(pointerAt(bare) - 8, 0x7777_7777);
  bare.write(path);
  const image = Image.open({ path, writable: true, locks: 'none', backing: [] });
  assert.deepEqual(image.describe().encryption, { format: 'luks' });
  assert.equal(image.extents({ offset: 0, length: 512, limit: 1, layer: 'top', hostOffsets: false }).items.length, 1);
  assert.equal(
    faultCodeOf(() => deriveHere(image.findVolumeKey(Buffer.from('any')))),
    'luks-header-invalid',
  );
  assert.equal(
    faultCodeOf(() => image.read(guestOffset(0), new Uint8Array(512))),
    'passphrase-required',
  );
  image.close();
  assert.deepEqual(ImageBytes.read(path).bytes, bare.bytes);
});

const encryptionExtension = 0x0537_be77;
const slotPlaceAt = (slot: number): number => 208 + slot * 48 + 40;

let sound: Uint8Array;

before(() => {
  using folder = tempFolder();
  const path = join(folder.path, 'image.qcow2');
  makeLuksImage(path, {});
  sound = Uint8Array.from(readFileSync(path));
});

const pointerAt = (image: ImageBytes): number => image.extensionAt(encryptionExtension);
const areaAt = (image: ImageBytes): number => Number(image.u64(pointerAt(image)));

describe('the check of an image with LUKS', () => {
  it('counts the area', () => {
    const image = ImageBytes.of(sound);
    assert.equal(runToEnd(check(MemoryFile.of(image.bytes))).clean, true);
    image.setRefcount(image.cluster(areaAt(image)), 2);
    assert.equal(runToEnd(check(MemoryFile.of(image.bytes))).leaks, 1);
    image.setRefcount(image.cluster(areaAt(image)), 0);
    const file = MemoryFile.of(image.bytes);
    assert.equal(runToEnd(repair(file, 'all')).corruptionsFixed, 1);
    assert.deepEqual(runToEnd(check(file)).findings, []);
  });

  const ways: readonly (readonly [string, (image: ImageBytes) => void])[] = [
    ['nothing points to it', (image) => image.setU32(pointerAt(image) - 8, 0x7777_7777)],
    ['it is shorter than its key material', (image) => image.setU64(pointerAt(image) + 8, BigInt(image.clusterSize))],
    ['it reaches past the end', (image) => image.setU64(pointerAt(image) + 8, BigInt(image.length))],
    ['it lies past the end', (image) => image.setU64(pointerAt(image), BigInt(image.endCluster * image.clusterSize))],
    ['a slot lies behind it', (image) => image.setU32(areaAt(image) + slotPlaceAt(7), 0x10_0000)],
    ['it is garbage', (image) => image.fill(areaAt(image), 592, 0xa7)],
  ];
  for (const [name, damage] of ways) {
    it(`frees nothing when ${name}`, () => {
      const image = ImageBytes.of(sound);
      damage(image);
      const report = runToEnd(check(MemoryFile.of(image.bytes)));
      assert.deepEqual([report.corruptions, report.checkErrors, report.leaks], [1, 1, 0]);
      for (const mode of ['leaks', 'all'] as const) {
        const file = MemoryFile.of(image.bytes);
        assert.equal(runToEnd(repair(file, mode)).clean, false);
        assert.equal(Buffer.compare(fileBytes(file), image.bytes), 0, `repair ${mode} changes nothing`);
      }
    });
  }
});
