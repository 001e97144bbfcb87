// The bitmaps' part of the face of the engine.

import {
  clearBitmap,
  createBitmap,
  deleteBitmap,
  describeBitmap,
  describeBitmaps,
  mergeBitmaps,
  setBitmapEnabled,
} from './operations/bitmap.ts';
import type { BitmapDescription, BitmapList, BitmapListQuery, NewBitmap } from './operations/bitmap.ts';
import { listDirtyExtents } from './operations/bitmap-extents.ts';
import type { DirtyExtentPage, DirtyExtentQuery } from './operations/bitmap-extents.ts';
import type { ImageSession } from './operations/image-session.ts';
import type { Steps } from './operations/steps.ts';

/** The verbs of an open image's persistent dirty bitmaps. */
export class BitmapVerbs {
  readonly #session: ImageSession;

  protected constructor(session: ImageSession) {
    this.#session = session;
  }

  /** In the order of the directory. */
  bitmaps(query: BitmapListQuery): Steps<BitmapList> {
    return this.#session.look((parts) => describeBitmaps(parts, query));
  }

  /** Fault `bitmap-not-found`. */
  bitmap(name: string): Steps<BitmapDescription> {
    return this.#session.look((parts) => describeBitmap(parts, name));
  }

  /** Faults `bitmap-not-found`, `bitmap-inconsistent`. */
  dirtyExtents(name: string, query: DirtyExtentQuery): DirtyExtentPage {
    this.#session.admitSpan(query.offset, query.length);
    return this.#session.look((parts) => listDirtyExtents(parts.bitmaps.findConsistent(name), query));
  }

  /** Durable when it returns, as all verbs of bitmaps. */
  createBitmap(wish: NewBitmap): BitmapDescription {
    return this.#session.changeBitmaps((parts) => createBitmap(parts, wish));
  }

  deleteBitmap(name: string): void {
    this.#session.changeBitmaps((parts) => {
      deleteBitmap(parts, name);
    });
  }

  clearBitmap(name: string): void {
    this.#session.changeBitmaps((parts) => {
      clearBitmap(parts, name);
    });
  }

  setBitmapEnabled(name: string, enabled: boolean): void {
    this.#session.changeBitmaps((parts) => {
      setBitmapEnabled(parts, name, enabled);
    });
  }

  mergeBitmaps(name: string, from: readonly string[]): Steps<void> {
    return this.#session.changeBitmapsInSteps((parts) => mergeBitmaps(parts, name, from));
  }
}
