// What services are made of, and how they tell of failures that nobody waits for.

import type { Catalog } from '../catalog/catalog.ts';
import type { EnginePool } from '../pool/engine-pool.ts';
import type { RuntimeOptions } from '../pool/protocol.ts';
import type { DataDirectory } from '../store/data-directory.ts';

/** Something that went wrong while nobody was waiting for it. */
export interface BackgroundFailure {
  /** What was being done, in a few words. */
  readonly doing: string;
  readonly imageId: string | undefined;
  readonly error: unknown;
}

/** What services are made of. */
export interface ServiceParts {
  readonly catalog: Catalog;
  readonly directory: DataDirectory;
  readonly pool: EnginePool;
  /** Milliseconds since 1970. */
  readonly clock: () => number;
  /** Milliseconds that only grow, whatever happens to the clock on the wall. */
  readonly steadyClock: () => number;
  /** A new unique id `<prefix>_…` that sorts by creation (`IdSource` of base). */
  readonly newId: (prefix: 'img' | 'job') => string;
  /** So many random bytes. */
  readonly entropy: (length: number) => Uint8Array;
  /** How long an image stays open after its last use. */
  readonly imageIdleMs: number;
  /** Below so many free bytes health says `low`. */
  readonly freeBytesMin: number;
  /** How much all image files together may occupy, in bytes; undefined for as much as there is. */
  readonly quotaBytes: number | undefined;
  /** How images are run for which nobody has asked for something else. */
  readonly runtimeDefaults: RuntimeOptions;
  /** Told of failures that no caller sees: for the log. */
  readonly report: (failure: BackgroundFailure) => void;
}
