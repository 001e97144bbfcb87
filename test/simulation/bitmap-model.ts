// What bitmaps owe to whoever trusts them: whatever differs from the moment when one began to record is dirty in it.

import { Fault } from '../../src/base/fault.ts';
import { MemoryFile } from '../../src/engine/file/memory-file.ts';
import { Image } from '../../src/engine/image.ts';
import { RawLayer } from '../../src/engine/layer/raw-layer.ts';
import { runToEnd } from '../../src/engine/operations/steps.ts';
import { contentOf } from './crash-judge.ts';

export type BitmapVerb = 'create' | 'clear' | 'merge' | 'disable' | 'delete';

/** By name: what the disk may have held when the bitmap was empty. */
export type BitmapPromise = ReadonlyMap<string, readonly Uint8Array[]>;

export class BitmapModel {
  #promise: BitmapPromise;
  #count = 0;

  /** `first`: the content when the bitmaps `names` were stored by somebody else. */
  constructor(names: readonly string[], first: Uint8Array) {
    this.#promise = new Map(names.map((name) => [name, [first]]));
  }

  get promise(): BitmapPromise {
    return this.#promise;
  }

  /** Does one thing to the bitmaps of an image whose content is `content`; names and moments never come back. */
  act(image: Image, verb: BitmapVerb, index: number): void {
    const content = contentOf(image);
    const names = runToEnd(image.bitmaps({ start: 0, limit: 100 })).items.map(({ name }) => name);
    const name = names[index % Math.max(1, names.length)];
    if (verb === 'create') {
      this.#count += 1;
      const made = `n${String(this.#count)}`;
      this.#set(made, [content]);
      image.createBitmap({ name: made, granularity: 512 * 2 ** (index % 4), enabled: true });
      return;
    }
    if (name === undefined) return;
    switch (verb) {
      case 'clear':
        this.#set(name, [...(this.#promise.get(name) ?? []), content]);
        image.clearBitmap(name);
        if (this.#promise.get(name)?.length !== 1) this.#set(name, [content]);
        return;
      case 'merge':
        runToEnd(image.mergeBitmaps(name, names));
        return;
      case 'disable':
        this.#set(name, undefined);
        image.setBitmapEnabled(name, false);
        return;
      case 'delete':
        image.deleteBitmap(name);
        this.#set(name, undefined);
    }
  }

  /** The disk ends there now: what comes back behind it when it grows again is new, and clean (BMP-09). */
  cut(virtualSize: number): void {
    for (const [name, bases] of this.#promise) {
      this.#set(
        name,
        bases.map((base) => base.subarray(0, virtualSize)),
      );
    }
  }

  #set(name: string, bases: readonly Uint8Array[] | undefined): void {
    const promise = new Map(this.#promise);
    if (bases === undefined) promise.delete(name);
    else promise.set(name, bases);
    this.#promise = promise;
  }
}

/** What is wrong with the bitmaps of a file that a crash has left: a sentence, or undefined. */
export function judgeBitmaps(
  file: MemoryFile,
  promise: BitmapPromise,
  backing: Uint8Array | undefined,
): string | undefined {
  const layer = backing === undefined ? undefined : new RawLayer(MemoryFile.of(backing));
  const image = Image.openFile(file, { writable: false, backing: layer });
  const content = contentOf(image);
  for (const { name, inconsistent, enabled } of runToEnd(image.bitmaps({ start: 0, limit: 100 })).items) {
    const bases = promise.get(name);
    if (inconsistent || !enabled || bases === undefined) continue;
    const dirty = dirtySectors(image, name);
    const isTold = bases.some((base) => changedSectors(base, content).every((sector) => dirty.has(sector)));
    if (!isTold) return `bitmap ${name} does not tell of a change`;
  }
  return undefined;
}

function dirtySectors(image: Image, name: string): ReadonlySet<number> {
  const sectors = new Set<number>();
  const page = image.dirtyExtents(name, { offset: 0, length: image.virtualSize, limit: Number.MAX_SAFE_INTEGER });
  if (page.nextOffset !== undefined) throw new Fault('internal', { reason: 'the page holds all' });
  for (const { offset, length, dirty } of page.items) {
    if (dirty) for (let at = offset; at < offset + length; at += 512) sectors.add(at / 512);
  }
  return sectors;
}

/** Of the part that both have: what a resize adds is clean (BMP-09). */
function changedSectors(base: Uint8Array, content: Uint8Array): readonly number[] {
  const changed: number[] = [];
  for (let at = 0; at < Math.min(base.length, content.length); at += 512) {
    if (Buffer.compare(base.subarray(at, at + 512), content.subarray(at, at + 512)) !== 0) changed.push(at / 512);
  }
  return changed;
}
