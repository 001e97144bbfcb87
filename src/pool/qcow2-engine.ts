// The engine that the product runs on: QCOW2 files.

import { Image, judgeHead } from '../engine/image.ts';
import type { FileLocks } from '../engine/image.ts';
import type { Engine } from './engine.ts';

/** `locks`: whether open images keep other programs out, see {@link FileLocks}. */
export function qcow2Engine(settings: { readonly locks: FileLocks }): Engine {
  const { locks } = settings;
  return {
    open: (options) => Image.open({ ...options, locks }),
    create: (path, spec) => Image.create(path, spec),
    judgeHead,
    admit: (options) => Image.admit({ ...options, locks }),
  };
}
