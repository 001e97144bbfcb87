// The LUKS1 header, judged by one that qemu-img 7.2 made.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { viewOf } from '../../../src/engine/format/big-endian.ts';
import {
  decodeLuksHeader,
  encodeLuksHeader,
  luksHeaderLength,
  luksIterationsMax,
  uuidText,
} from '../../../src/engine/format/luks-header.ts';
import { Fault } from '../../../src/base/fault.ts';
import { luksAreaLength, luksHeaderOfQemu } from '../../support/luks-values.ts';

/** Why a changed header is refused; undefined when it is not. */
function reasonFor(change: (view: DataView, bytes: Uint8Array) => void, areaLength = luksAreaLength): unknown {
  const bytes = luksHeaderOfQemu();
  change(viewOf(bytes), bytes);
  try {
    decodeLuksHeader(bytes, areaLength);
  } catch (error) {
    assert.ok(error instanceof Fault && error.code === 'luks-header-invalid');
    return error.context['reason'];
  }
  return undefined;
}

const slot = (index: number): number => 208 + 48 * index;

describe('the LUKS header', () => {
  it('decodes what qemu-img writes (ENC-02, ENC-04)', () => {
    const header = decodeLuksHeader(luksHeaderOfQemu(), luksAreaLength);
    assert.equal(header.cipherName, 'aes');
    assert.equal(header.cipherMode, 'xts-plain64');
    assert.equal(header.hash, 'sha256');
    assert.equal(header.payloadOffset, 2_068_480);
    assert.equal(header.keyLength, 64);
    assert.equal(header.digestIterations, 8983);
    assert.equal(uuidText(header), '6c5a6ae8-57a6-4af0-a41e-6b57fa59d185');
    assert.deepEqual(
      header.keySlots.map(({ active, iterations, materialOffset, stripes }) => [
        active,
        iterations,
        materialOffset,
        stripes,
      ]),
      [8, 512, 1016, 1520, 2024, 2528, 3032, 3536].map((sector, index) => [
        index === 0,
        index === 0 ? 36942 : 0,
        sector * 512,
        4000,
      ]),
    );
  });

  it('encodes to the same bytes', () => {
    const bytes = luksHeaderOfQemu();
    assert.deepEqual(encodeLuksHeader(decodeLuksHeader(bytes, luksAreaLength)), bytes);
  });

  it('takes any UUID, shows what can be shown, and keeps its bytes', () => {
    for (const [field, shown] of [
      [[0x41, 0xff, 0x0a, 0, 0x42], 'A\ufffd\n'],
      [new Array<number>(40).fill(0x61), 'a'.repeat(40)],
      [[0, 0x61], ''],
    ] as const) {
      const bytes = luksHeaderOfQemu();
      bytes.set(field, 168);
      const header = decodeLuksHeader(bytes, luksAreaLength);
      assert.equal(uuidText(header), shown);
      assert.deepEqual(encodeLuksHeader(header), bytes);
    }
  });

  it('is refused when it is cut', () => {
    const bytes = luksHeaderOfQemu();
    for (const length of [0, 6, luksHeaderLength - 1]) {
      assert.throws(() => decodeLuksHeader(bytes.subarray(0, length), luksAreaLength), { code: 'luks-header-invalid' });
    }
    assert.equal(
      reasonFor(() => undefined, luksHeaderLength - 1),
      'length',
    );
  });

  const refusals: readonly (readonly [string, unknown, (view: DataView, bytes: Uint8Array) => void])[] = [
    ['another magic', 'magic', (view) => view.setUint8(5, 0)],
    ['LUKS2', 'version', (view) => view.setUint16(6, 2)],
    ['a cipher name without an end', 'cipherName', (_, bytes) => bytes.fill(0x61, 8, 40)],
    ['a cipher mode that is no text', 'cipherMode', (view) => view.setUint8(41, 0x80)],
    ['a hash with a control character', 'hash', (view) => view.setUint8(72, 9)],
    ['a key of no length', 'keyLength', (view) => view.setUint32(108, 0)],
    ['a key longer than any cipher has', 'keyLength', (view) => view.setUint32(108, 65)],
    ['no rounds for the digest', 'digestIterations', (view) => view.setUint32(164, 0)],
    ['more rounds than can be computed', 'digestIterations', (view) => view.setUint32(164, luksIterationsMax + 1)],
    ['a slot neither on nor off', 'slotState', (view) => view.setUint32(slot(3), 1)],
    ['no rounds in an active slot', 'slotIterations', (view) => view.setUint32(slot(0) + 4, 0)],
    ['too many rounds in a slot', 'slotIterations', (view) => view.setUint32(slot(0) + 4, 0xffff_ffff)],
    ['another number of stripes', 'stripes', (view) => view.setUint32(slot(7) + 44, 3999)],
    ['key material over the header', 'slotPlace', (view) => view.setUint32(slot(0) + 40, 1)],
    ['key material behind the area', 'slotPlace', (view) => view.setUint32(slot(7) + 40, 3541)],
    ['key material over that of another slot', 'slotOverlap', (view) => view.setUint32(slot(7) + 40, 3531)],
  ];
  for (const [name, reason, change] of refusals) {
    it(`is refused with ${name}`, () => {
      assert.equal(reasonFor(change), reason);
    });
  }

  it('takes the last places and numbers that its limits allow', () => {
    const harmless: readonly ((view: DataView) => void)[] = [
      (view) => view.setUint32(slot(7) + 40, 3540),
      (view) => view.setUint32(slot(7) + 40, 3532),
      (view) => view.setUint32(slot(0) + 4, luksIterationsMax),
      (view) => view.setUint32(slot(1) + 4, 0xffff_ffff),
    ];
    for (const change of harmless) assert.equal(reasonFor(change), undefined);
  });
});
