// The engine that the product runs on: QCOW2 files.

import { CacheBudget, Image, guardFiles, judgeHead, measureNew } from '../engine/image.ts';
import type { FileLocks } from '../engine/image.ts';
import type { Engine } from './engine.ts';

export interface Qcow2EngineSettings {
  /** Whether open images keep other programs out. */
  readonly locks: FileLocks;
  /** Whether data that goes from file to file is copied by the file system where it can. */
  readonly hostCopies: boolean;
  /** What the tables of all its open images may take of the memory together, in bytes. */
  readonly cacheBytes: number;
}

/** One engine, for one thread. */
export function qcow2Engine({ locks, hostCopies, cacheBytes }: Qcow2EngineSettings): Engine {
  const caches = new CacheBudget(cacheBytes);
  return {
    open: (options) => Image.open({ ...options, locks, hostCopies, caches }),
    guard: (options) => guardFiles({ ...options, locks }),
    tidyCaches: (nowMs) => {
      caches.tidy(nowMs);
      return caches.totals;
    },
    create: (path, spec) => Image.create(path, spec),
    judgeHead,
    measure: measureNew,
    admit: (options) => Image.admit({ ...options, locks }),
  };
}
