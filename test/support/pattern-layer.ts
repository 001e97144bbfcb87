// A layer without a file: a list of stretches, each data byte told by its place.

import { assert } from '../../src/base/assert.ts';
import type { GuestOffset } from '../../src/engine/format/offsets.ts';
import type { Layer, LayerExtent } from '../../src/engine/layer/layer.ts';
import type { Prng } from './prng.ts';

/** One stretch; neighbours may be of one kind. Length in bytes. */
export interface Stretch {
  readonly kind: 'data' | 'zero' | 'absent';
  readonly length: number;
}

/** Holds any number of stretches over any length. A data byte is never zero. */
export class PatternLayer implements Layer {
  readonly size: number;
  readonly #stretches: readonly Stretch[];
  /** Where each stretch starts. */
  readonly #starts: readonly number[];

  constructor(stretches: readonly Stretch[]) {
    const starts: number[] = [];
    let size = 0;
    for (const { length } of stretches) {
      starts.push(size);
      size += length;
    }
    this.#stretches = stretches;
    this.#starts = starts;
    this.size = size;
  }

  read(offset: GuestOffset, target: Uint8Array): void {
    assert(offset + target.length <= this.size, 'a read lies inside the layer');
    for (let done = 0; done < target.length;) {
      const { kind, length } = this.extentAt((offset + done) as GuestOffset, target.length - done);
      if (kind === 'data') fillPattern(offset + done, target.subarray(done, done + length));
      else target.fill(0, done, done + length);
      done += length;
    }
  }

  extentAt(offset: GuestOffset, lengthMax: number): LayerExtent {
    assert(offset + lengthMax <= this.size && lengthMax > 0, 'the span lies inside the layer');
    const index = this.#indexAt(offset);
    const { kind, length } = this.#stretches[index] ?? { kind: 'absent', length: 0 };
    const rest = (this.#starts[index] ?? 0) + length - offset;
    const held = Math.min(rest, lengthMax);
    return kind === 'absent'
      ? { kind, length: held, depth: 0 }
      : { kind, length: held, depth: 0, compressed: false, host: undefined };
  }

  close(): void {
    // Nothing is held.
  }

  #indexAt(offset: number): number {
    let low = 0;
    let high = this.#starts.length;
    while (high - low > 1) {
      const middle = Math.floor((low + high) / 2);
      if ((this.#starts[middle] ?? 0) <= offset) low = middle;
      else high = middle;
    }
    return low;
  }
}

/** Random stretches of whole units of 512 bytes that fill `size`. */
export function randomStretches(
  random: Prng,
  options: { readonly size: number; readonly sectorsMax: number },
): readonly Stretch[] {
  const stretches: Stretch[] = [];
  for (let at = 0; at < options.size;) {
    const length = Math.min(options.size - at, 512 * (1 + random.below(options.sectorsMax)));
    stretches.push({ kind: random.pick(['data', 'zero', 'absent'] as const), length });
    at += length;
  }
  return stretches;
}

function fillPattern(offset: number, target: Uint8Array): void {
  for (let index = 0; index < target.length; index += 1) target[index] = 1 + ((offset + index) % 251);
}
