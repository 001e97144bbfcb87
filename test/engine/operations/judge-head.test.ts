import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { Fault } from '../../../src/base/fault.ts';
import { judgeHead } from '../../../src/engine/operations/judge-head.ts';
import { headLength } from '../../../src/pool/protocol.ts';
import { broken } from '../../support/hostile-headers.ts';
import { hostileImages } from '../../support/hostile-images.ts';
import { commonChoice, setUint32, setUint64, soundChoices, soundImage } from '../../support/hostile-image.ts';
import type { DraftImage } from '../../support/hostile-image.ts';

/** The codes of the violations, or none when the head is taken. */
function violationsOf(bytes: Uint8Array, options: { readonly backing: boolean }): readonly unknown[] {
  try {
    judgeHead(bytes.subarray(0, headLength), options);
    return [];
  } catch (error) {
    assert.ok(error instanceof Fault, String(error));
    assert.equal(error.code, 'unsafe-image');
    const { violations } = error.context;
    assert.ok(Array.isArray(violations));
    return violations.map((violation: { readonly code: unknown }) => violation.code);
  }
}

describe('the head of a file', () => {
  for (const [name, choice] of soundChoices) {
    test(`is taken when it is sound: ${name}`, () => {
      const { bytes } = soundImage({ ...commonChoice, ...choice });
      assert.deepEqual(violationsOf(bytes, { backing: false }), []);
    });
  }

  test('is refused for what is no QCOW2 file, or ends too early', () => {
    assert.deepEqual(violationsOf(new Uint8Array(headLength), { backing: false }), ['magic-wrong']);
    assert.deepEqual(violationsOf(new Uint8Array(3), { backing: false }), ['header-truncated']);
  });

  test('is refused for every header that nobody can read', () => {
    const headers = hostileImages.filter(({ id }) => /^header-(magic|version|cluster-bits|crypt|l1-size)/.test(id));
    assert.ok(headers.length >= 8, `there are hostile headers: ${headers.length}`);
    for (const { id, bytes, openFault } of headers) {
      if (openFault === undefined) continue;
      assert.deepEqual(violationsOf(bytes, { backing: false }), [openFault], id);
    }
  });

  test('is refused for all that this engine does not do, at once', () => {
    const { bytes } = broken('features', undefined, (draft: DraftImage) => {
      setUint32(draft, 32, 2);
      setUint64(draft, 72, (1n << 2n) | (1n << 40n));
    });
    assert.deepEqual(violationsOf(bytes, { backing: false }), ['feature-unknown', 'data-file-refused']);
  });

  test('names a backing file only where one is expected', () => {
    const { bytes } = broken('backing', undefined, (draft: DraftImage) => {
      setUint64(draft, 8, 2048n);
      setUint32(draft, 16, 8);
      draft.bytes.set(Buffer.from('base.img'), 2048);
    });
    assert.throws(() => judgeHead(bytes, { backing: false }), {
      context: { violations: [{ code: 'backing-refused', fileName: 'base.img' }] },
    });
    const start = bytes.subarray(0, 2050);
    assert.deepEqual(violationsOf(start, { backing: false }), ['backing-refused'], 'the name lies beyond');
    assert.deepEqual(violationsOf(bytes, { backing: true }), []);
  });
});
