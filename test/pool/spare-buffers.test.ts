import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { KiB, MiB } from '../../src/base/units.ts';
import { SpareBuffers } from '../../src/pool/spare-buffers.ts';

describe('spare buffers', () => {
  it('are had once, by reads of exactly their length', () => {
    const spares = new SpareBuffers();
    const bytes = new Uint8Array(64 * KiB);
    spares.give(bytes);
    assert.equal(spares.take(32 * KiB), undefined);
    assert.equal(spares.take(64 * KiB), bytes.buffer);
    assert.equal(spares.take(64 * KiB), undefined);
  });

  it('are not kept when they are small, odd, shared, pooled or handed over already, or somebody may see the rest', () => {
    const spares = new SpareBuffers();
    spares.give(new Uint8Array(64 * KiB).subarray(0, 32 * KiB));
    assert.equal(spares.take(64 * KiB), undefined);
    spares.give(new Uint8Array(4 * KiB));
    assert.equal(spares.take(4 * KiB), undefined);
    spares.give(new Uint8Array(96 * KiB));
    assert.equal(spares.take(96 * KiB), undefined);
    spares.give(new Uint8Array(new SharedArrayBuffer(64 * KiB)));
    assert.equal(spares.take(64 * KiB), undefined);
    const gone = new Uint8Array(64 * KiB);
    spares.give(gone);
    structuredClone(gone, { transfer: [gone.buffer] });
    assert.equal(spares.take(64 * KiB), undefined);
  });

  it('are bounded, and count once however often they come', () => {
    const spares = new SpareBuffers();
    const same = new Uint8Array(1 * MiB);
    for (let time = 0; time < 100; time += 1) spares.give(same);
    for (let count = 0; count < 100; count += 1) spares.give(new Uint8Array(1 * MiB));
    let kept = 0;
    while (spares.take(1 * MiB) !== undefined) kept += 1;
    assert.equal(kept, 32);
  });
});
