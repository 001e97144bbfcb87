// A pool with a folder of its own, and the small words in which its tests speak.

import { join } from 'node:path';

import { MiB } from '../../src/base/units.ts';
import type { Engine, EngineImage } from '../../src/pool/engine.ts';
import type { EngineHandle, EnginePool } from '../../src/pool/engine-pool.ts';
import { InlinePool } from '../../src/pool/inline-pool.ts';
import type { PoolFailure } from '../../src/pool/lane-pool.ts';
import { poolLimits } from '../../src/pool/limits.ts';
import type { PoolLimits } from '../../src/pool/limits.ts';
import type { EngineCalls, EngineRuns } from '../../src/pool/protocol.ts';
import { specOf } from './memory-image-spec.ts';
import { memoryEngine } from './memory-image.ts';
import { tempFolder } from './temp-folder.ts';

/** How a pool of the suite is to be. */
export interface PoolSettings {
  readonly imageIdleMs: number;
  readonly limits: PoolLimits;
  readonly report: (failure: PoolFailure) => void;
}

/** A pool with a folder for its files; everything is gone at the end of the test. */
export interface Bench extends AsyncDisposable {
  readonly pool: EnginePool;
  readonly failures: readonly PoolFailure[];
  pathOf(imageId: string): string;
  /** Makes an image. */
  make(imageId: string, virtualSize: number): Promise<void>;
  open(imageId: string, options: { readonly writable: boolean }): Promise<EngineHandle>;
}

export const none = { signal: undefined };
export const noRun = { signal: undefined, onProgress: undefined };
const longIdleMs = 60_000;

/** A pool with a folder of its own. */
export async function bench(
  start: (settings: PoolSettings) => Promise<EnginePool>,
  options: { readonly imageIdleMs?: number; readonly limits?: Partial<PoolLimits> },
): Promise<Bench> {
  const folder = tempFolder();
  const failures: PoolFailure[] = [];
  const limits = { ...poolLimits, ...options.limits };
  const imageIdleMs = options.imageIdleMs ?? longIdleMs;
  const pool = await start({ imageIdleMs, limits, report: (failure) => failures.push(failure) });
  const pathOf = (imageId: string): string => join(folder.path, imageId);
  return {
    pool,
    failures,
    pathOf,
    make: async (imageId, virtualSize) => {
      await pool.create({ imageId, path: pathOf(imageId), spec: specOf(virtualSize), backing: [] }, noRun);
    },
    open: (imageId, { writable }) =>
      pool.open({ imageId, path: pathOf(imageId), writable, backing: [], generation: 100 }, none),
    [Symbol.asyncDispose]: async () => {
      await pool.close();
      folder[Symbol.dispose]();
    },
  };
}

/** So many bytes of one value, in a buffer of their own. */
export function bytesOf(length: number, value: number): Uint8Array {
  return new Uint8Array(length).fill(value);
}

/** What a plain `write` call is asked with. */
export function write(offset: number, bytes: Uint8Array): EngineCalls['write']['args'] {
  return { offset, bytes, detectZeroes: false };
}

/** A pool here, over the small engine with some verbs of its images replaced. */
export function startInlineWith(
  replace: (image: EngineImage) => Partial<EngineImage>,
): (settings: PoolSettings) => Promise<InlinePool> {
  const open: Engine['open'] = (options) => {
    const image = memoryEngine.open(options);
    return Object.assign(image, replace(image));
  };
  const engine = { ...memoryEngine, open };
  return async (settings) => new InlinePool({ ...settings, engine, clock: () => performance.now() });
}

export const startInline = startInlineWith(() => ({}));

/** Runs that go on until they are cancelled. */
export const startEndless = startInlineWith(() => ({ check: forEver, recover: forEver }));

/** Steps without end. */
export function* forEver(): Generator<{ done: number; total: number }, never> {
  for (let done = 0; ; done += 1) yield { done, total: Infinity };
}

/** An image of 4 MiB, on which runs take many steps. */
export async function openOne(at: Bench): Promise<EngineHandle> {
  await at.make('one', 4 * MiB);
  return await at.open('one', { writable: true });
}

/** How a snapshot is asked for. */
export const snapshotArgs = (name: string): EngineRuns['createSnapshot']['args'] => ({
  name,
  seconds: 0,
  nanoseconds: 0,
  idFloor: 1,
});
