// How large a file will be, against what qemu-img 7.2 measures.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { GiB, KiB, MiB, PiB } from '../../../src/base/units.ts';
import { guestOffset } from '../../../src/engine/format/offsets.ts';
import { measureNew } from '../../../src/engine/operations/measure.ts';
import type { MeasuredSize, MeasureSpec } from '../../../src/engine/operations/measure.ts';
import { runToEnd } from '../../../src/engine/operations/steps.ts';
import { faultCodeOf } from '../../support/faults.ts';
import { usual } from '../../support/measure-spec.ts';
import { fillGuest, imageOver, newFile } from '../../support/memory-parts.ts';

const overSomething = { fileName: 'base.qcow2', format: 'qcow2' } as const;

/** What `qemu-img measure --size … -O qcow2` printed: required and fully allocated bytes. */
const vectors: readonly (readonly [virtualSize: number, Partial<MeasureSpec>, MeasuredSize])[] = [
  [1 * GiB, {}, { required: 393_216, fullyAllocated: 1_074_135_040 }],
  [1 * GiB, { preallocation: 'full' }, { required: 1_074_135_040, fullyAllocated: 1_074_135_040 }],
  [1 * GiB, { clusterSize: 2 * MiB }, { required: 10_485_760, fullyAllocated: 1_084_227_584 }],
  [1 * GiB, { extendedL2: true }, { required: 524_288, fullyAllocated: 1_074_266_112 }],
  [0, {}, { required: 196_608, fullyAllocated: 196_608 }],
  [8 * MiB, { clusterSize: 512, refcountBits: 64 }, { required: 271_872, fullyAllocated: 8_660_480 }],
  [1000, { clusterSize: 512, refcountBits: 1 }, { required: 2560, fullyAllocated: 3584 }],
  [
    100 * GiB,
    { clusterSize: 4 * KiB, preallocation: 'falloc' },
    { required: 107_636_977_664, fullyAllocated: 107_636_977_664 },
  ],
  [4 * MiB, { preallocation: 'metadata' }, { required: 327_680, fullyAllocated: 4_521_984 }],
  [1 * PiB, { compat: '0.10' }, { required: 171_825_102_848, fullyAllocated: 1_126_071_731_945_472 }],
  [
    4 * PiB,
    { clusterSize: 2 * MiB, extendedL2: true, refcountBits: 32 },
    { required: 42_958_061_568, fullyAllocated: 4_503_642_585_432_064 },
  ],
  [1_000_000, { backing: overSomething }, { required: 327_680, fullyAllocated: 1_376_256 }],
  [1 * GiB, { luks: { algorithm: 'aes-256', mode: 'xts' } }, { required: 2_490_368, fullyAllocated: 1_076_232_192 }],
  [1 * GiB, { luks: { algorithm: 'aes-192', mode: 'xts' } }, { required: 1_966_080, fullyAllocated: 1_075_707_904 }],
  [1 * GiB, { luks: { algorithm: 'aes-128', mode: 'xts' } }, { required: 1_507_328, fullyAllocated: 1_075_249_152 }],
  [1 * GiB, { luks: { algorithm: 'aes-128', mode: 'cbc' } }, { required: 983_040, fullyAllocated: 1_074_724_864 }],
  [
    1 * GiB,
    { clusterSize: 512, luks: { algorithm: 'aes-256', mode: 'xts' } },
    { required: 23_453_696, fullyAllocated: 1_097_195_520 },
  ],
];

describe('a new image', () => {
  for (const [virtualSize, change, expected] of vectors) {
    it(`is as large as qemu-img says: ${virtualSize} bytes, ${JSON.stringify(change)}`, () => {
      assert.deepEqual(measureNew({ ...usual, ...change }, virtualSize), expected);
    });
  }

  it('is refused where it could not be made', () => {
    const measure = (change: Partial<MeasureSpec>, virtualSize: number) => () =>
      measureNew({ ...usual, ...change }, virtualSize);
    assert.equal(faultCodeOf(measure({}, 3 * PiB)), 'invalid-geometry');
    assert.equal(faultCodeOf(measure({ clusterSize: 1000 }, MiB)), 'invalid-geometry');
    assert.equal(faultCodeOf(measure({ compat: '0.10', refcountBits: 8 }, MiB)), 'unsupported-option');
  });

  it('is refused where a full one would pass the numbers that we have', () => {
    const size = 2 ** 53 - 512;
    assert.equal(
      faultCodeOf(() => measureNew({ ...usual, clusterSize: 2 * MiB }, size)),
      'invalid-geometry',
    );
    assert.ok(measureNew({ ...usual, clusterSize: 2 * MiB }, size - 8 * 1024 * GiB).fullyAllocated < 2 ** 53);
  });
});

describe('a copy of an image', () => {
  // Tables of a full disk of 1 MiB in clusters of 64 KiB: header, one L2 table, L1, refcount table and block.
  const tables = 5 * 64 * KiB;

  it('needs the clusters of the new file that data touches, and none for zeroes (T84)', () => {
    const image = imageOver(newFile({ clusterSize: 4 * KiB, virtualSize: MiB }), undefined);
    fillGuest(image, 60 * KiB, 8 * KiB, 1);
    fillGuest(image, 200 * KiB, 4 * KiB, 2);
    runToEnd(image.zero(guestOffset(400 * KiB), 100 * KiB, { unmap: false }));
    const measured = (change: Partial<MeasureSpec>) =>
      runToEnd(image.measure({ snapshot: undefined, spec: { ...usual, ...change } }));
    assert.deepEqual(measured({}), {
      required: tables + 3 * 64 * KiB,
      fullyAllocated: tables + MiB,
      bitmaps: 0,
    });
    assert.equal(measured({ backing: overSomething }).required, tables + MiB, 'nobody knows what is shared');
    assert.equal(measured({ preallocation: 'falloc' }).required, tables + MiB);
    assert.equal('bitmaps' in measured({ compat: '0.10' }), false, 'version 2 has no bitmaps');
    image.close();
  });

  it('of a snapshot has the size of the snapshot', () => {
    const image = imageOver(newFile({ clusterSize: 64 * KiB, virtualSize: MiB }), undefined);
    fillGuest(image, 0, 128 * KiB, 1);
    runToEnd(image.createSnapshot({ name: 's', seconds: 0, nanoseconds: 0, idFloor: 1 }));
    runToEnd(image.discard(guestOffset(0), MiB));
    runToEnd(image.resize({ virtualSize: 2 * MiB, allowShrink: false, preallocation: 'off' }));
    const measured = (snapshot: string | undefined) => runToEnd(image.measure({ snapshot, spec: usual }));
    assert.deepEqual(measured('s'), { required: tables + 128 * KiB, fullyAllocated: tables + MiB, bitmaps: 0 });
    assert.deepEqual(measured(undefined), { required: tables, fullyAllocated: tables + 2 * MiB, bitmaps: 0 });
    assert.equal(
      faultCodeOf(() => measured('nobody')),
      'snapshot-not-found',
    );
    image.close();
  });

  it('counts a cluster of the new file once, whatever the old ones are', () => {
    const image = imageOver(newFile({ clusterSize: 512, virtualSize: MiB }), undefined);
    for (let at = 0; at < 64 * KiB; at += 2 * 512) fillGuest(image, at, 512, 1);
    const { required } = runToEnd(image.measure({ snapshot: undefined, spec: usual }));
    assert.equal(required, tables + 64 * KiB);
    image.close();
  });
});
