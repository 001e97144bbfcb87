// How the use of an image ends for good: it is deleted, or its file is handed to another program.

import type { Fault } from '../base/fault.ts';
import type { OpeningParts } from './opening.ts';
import { notReady, requireUsable } from './opening.ts';

/** One way to end it. */
export interface Retirement {
  /** What callers are told from now on. */
  readonly reason: Fault;
  /** Whether the file is flushed and closed in good order, or let go of as it is. */
  readonly keepsFile: boolean;
  /** Judges, while everybody is still in. Nothing has happened yet. */
  readonly judge: () => Promise<unknown>;
  /**
   * From now on there is no way back; `close` lets nobody new in, and is called without a gap after what it stands on.
   * False, and nothing, for an image that is of another version by now than the one that was judged.
   */
  readonly begin: (close: () => void, version?: number) => Promise<boolean>;
  /** After the file was closed. */
  readonly end: () => Promise<unknown>;
}

interface Retired {
  readonly id: string;
  readonly name: string;
}

/** The file goes, then the row. Faults `image-has-dependents`, `image-protected`, `image-not-ready`, `image-not-found`. */
export function deletionOf(parts: OpeningParts, image: Retired): Retirement {
  const { catalog, directory } = parts;
  return {
    reason: notReady(image, 'deleting'),
    keepsFile: false,
    judge: async () => undefined,
    begin: async (close, version) => {
      const begun = await catalog.beginDelete(image.id, version);
      if (begun !== undefined) close();
      return begun !== undefined;
    },
    end: async () => {
      await directory.remove('images', image.id);
      await catalog.removeImage(image.id);
    },
  };
}

/** The file is flushed, closed and free of locks before the row says so. Faults `image-has-dependents`, `image-not-ready`. */
export function detachmentOf(parts: OpeningParts, image: Retired): Retirement {
  const { catalog, clock } = parts;
  return {
    reason: notReady(image, 'detached'),
    keepsFile: true,
    judge: async () => {
      // A thread that does not answer may still write to what is to be somebody else's file.
      parts.pool.requireUnstuck(image.id);
      await requireUsable(parts, image.id, { changes: true });
    },
    begin: async (close) => {
      close();
      return true;
    },
    end: () => catalog.detachImage(image.id, { nowMs: clock() }),
  };
}
