// What only QEMU can judge of a changed image: grown with preallocation, grown refcounts, bitmaps after our write.

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, it } from 'node:test';

import { guestOffset } from '../../../../src/engine/format/offsets.ts';
import { Image } from '../../../../src/engine/image.ts';
import { runToEnd } from '../../../../src/engine/operations/steps.ts';
import { fillGuest } from '../../../support/memory-parts.ts';
import { plainSpec } from '../../../support/plain-spec.ts';
import { infoJson, mapJson, qemuImg, qemuIo } from '../../../support/qemu-img.ts';
import { assertSound } from '../../../support/qemu-verdicts.ts';
import { tempFolder } from '../../../support/temp-folder.ts';

const locks = 'none' as const;

describe('an image that we grow', () => {
  for (const preallocation of ['metadata', 'falloc', 'full'] as const) {
    for (const compat of ['0.10', '1.1'] as const) {
      it(`has its new clusters by QEMU's word: ${preallocation}, ${compat}`, () => {
        using folder = tempFolder();
        const path = join(folder.path, 'image.qcow2');
        qemuImg('create', '-q', '-f', 'qcow2', '-o', `compat=${compat},cluster_size=4096`, path, '1M');
        const image = Image.open({ path, writable: true, backing: [], locks });
        fillGuest(image, 0, 70_000, 5);
        runToEnd(image.resize({ virtualSize: 9 * 1024 ** 2, allowShrink: false, preallocation }));
        image.close();
        assertSound(path, 'grown');
        const grown = mapJson(path).filter(({ start }) => start >= 1024 ** 2);
        assert.ok(grown.every(({ offset, depth }) => offset !== undefined && depth === 0));
        qemuIo(path, ['read -P 0 1M 8M', 'write -P 7 2M 1M'], {
          format: 'qcow2',
          readOnly: false,
          syncs: false,
          discard: 'unmap',
        });
        assertSound(path, 'written by QEMU');
      });
    }
  }

  for (const refcountBits of [1, 2, 4, 8, 16, 32, 64] as const) {
    it(`counts all its clusters of 512 bytes in ${String(refcountBits)} bits`, () => {
      using folder = tempFolder();
      const path = join(folder.path, 'image.qcow2');
      runToEnd(Image.create(path, { ...plainSpec, clusterSize: 512, refcountBits, virtualSize: 65 * 1024 ** 2 }));
      const image = Image.open({ path, writable: true, backing: [], locks });
      for (let at = 0; at < 64 * 1024 ** 2; at += 1024 ** 2) fillGuest(image, at, 1024 ** 2, 1 + (at % 251));
      image.close();
      assertSound(path, 'full');
    });
  }
});

describe('a bitmap of QEMU', () => {
  it('is kept when we write and close, and not trusted after a write that nobody has ended (BMP-07, OPS-39, T67)', () => {
    using folder = tempFolder();
    const path = join(folder.path, 'image.qcow2');
    qemuImg('create', '-q', '-f', 'qcow2', path, '1M');
    qemuImg('bitmap', '--add', '-f', 'qcow2', path, 'dirty');
    const flagsOf = (): readonly string[] => {
      const info = infoJson(path) as {
        'format-specific': { data: { bitmaps: readonly { flags: readonly string[] }[] } };
      };
      return info['format-specific'].data.bitmaps[0]?.flags ?? [];
    };
    assert.deepEqual(flagsOf(), ['auto']);
    const reader = Image.open({ path, writable: true, backing: [], locks });
    reader.read(guestOffset(0), new Uint8Array(512));
    reader.close();
    assert.deepEqual(flagsOf(), ['auto'], 'reading changes nothing');
    const image = Image.open({ path, writable: true, backing: [], locks });
    fillGuest(image, 0, 512, 1);
    image.close();
    assert.deepEqual(flagsOf(), ['auto'], 'kept');
    assertSound(path, 'written');
    const torn = Image.open({ path, writable: true, backing: [], locks });
    fillGuest(torn, 0, 512, 2);
    torn.flush();
    torn.abandon();
    assert.deepEqual(flagsOf().toSorted(), ['auto', 'in-use']);
    assertSound(path, 'torn');
  });
});
