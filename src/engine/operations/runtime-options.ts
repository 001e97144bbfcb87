// What of an open image is a matter of running it, and not of its file (OPT-01…OPT-07, OPT-10, OPT-11).

import { Fault } from '../../base/fault.ts';
import type { OverlapRules } from '../allocation/overlap-check.ts';
import type { Geometry } from '../format/geometry.ts';
import { judgeCacheWish } from './cache-sizes.ts';
import type { CacheWish } from './cache-sizes.ts';

/** Each undefined for what the engine does by itself. */
export interface RuntimeOptions extends CacheWish, OverlapRules {
  /**
   * In seconds: how long clean table entries that nobody asks for are kept at least (OPT-05), those of the layers below,
   * too; 0 for as long as there is room.
   */
  readonly cacheCleanSeconds?: number | undefined;
  /** Whether refcounts may lag behind under the dirty bit, whatever the header says. */
  readonly lazyRefcounts?: boolean | undefined;
  /** Whether the space of discarded clusters goes back to the file system. */
  readonly passDiscard?: boolean | undefined;
  /** Whether discarded clusters keep their place (OPT-10). */
  readonly discardNoUnref?: boolean | undefined;
}

/**
 * What an image can honour of options that were made for another file, or for what it was before it was amended: those
 * that need version 3 are left out for version 2, and all of them when the others do not fit.
 */
export function fittingRuntime(
  options: RuntimeOptions | undefined,
  image: { readonly geometry: Geometry; readonly version: 2 | 3 },
): RuntimeOptions | undefined {
  if (options === undefined) return undefined;
  const fitting = image.version === 2 ? { ...options, lazyRefcounts: undefined, discardNoUnref: undefined } : options;
  try {
    judgeRuntime(fitting, image);
    return fitting;
  } catch (error) {
    if (error instanceof Fault && error.code === 'unsupported-option') return undefined;
    throw error;
  }
}

/** Fault `unsupported-option` {option, value, reason}; see {@link judgeCacheWish}. */
export function judgeRuntime(
  options: RuntimeOptions,
  image: { readonly geometry: Geometry; readonly version: 2 | 3 },
): void {
  judgeCacheWish(options, image.geometry);
  const refuse = (option: keyof RuntimeOptions, reason: string): never => {
    throw new Fault('unsupported-option', { option, value: options[option], reason });
  };
  if (options.lazyRefcounts === true && image.version === 2) {
    refuse('lazyRefcounts', 'a version 2 image has no dirty bit');
  }
  if (options.discardNoUnref === true && image.version === 2) {
    refuse('discardNoUnref', 'a version 2 image has no zero clusters');
  }
}
