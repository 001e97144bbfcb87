// What one image in use needs of the others and of the rest of the service.

import type { ImageKeys } from './image-keys.ts';
import type { LeaseBook } from './lease-book.ts';
import type { OpeningParts } from './opening.ts';

/** What an image in use needs of the rest. */
export interface ImageInUseParts<Image> extends OpeningParts {
  readonly imageIdleMs: number;
  /** How long work that is under way may hold up a change of the image's life, in milliseconds. */
  readonly graceMs: number;
  /** How often the disk failed a change, by image: nobody knows then what of the unflushed changes is left. */
  readonly doubts: Map<string, number>;
  readonly leases: LeaseBook;
  readonly keys: ImageKeys;
  /** Closes images that nobody uses; false when there are none. */
  readonly makeRoom: () => Promise<boolean>;
  /** Told when nobody uses the image any more and its file is closed. */
  readonly unused: (image: Image) => void;
}
