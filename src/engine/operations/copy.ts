// Copies what a layer has into a new image file: flattened, zeroes left out, and packed where that was asked for.

import { removeFile } from '../file/folder.ts';
import { NodeFile } from '../file/node-file.ts';
import type { Layer } from '../layer/layer.ts';
import { fill } from './copy-fill.ts';
import type { FillForm } from './copy-fill.ts';
import { createFile } from './create-file.ts';
import type { CreateSpec } from './create-spec.ts';
import { describe } from './describe.ts';
import type { ImageDescription } from './image-description.ts';
import { ImageSession } from './image-session.ts';
import type { Steps } from './steps.ts';

export interface CopyWish extends FillForm {
  /** Where the new file is made; nothing is there yet. */
  readonly path: string;
  /** A standalone image; it becomes as large as the layer where that is larger. */
  readonly spec: CreateSpec;
}

/**
 * The file is durable at the end; a cancel or a fault removes it. What the layer has must not change meanwhile. Faults of
 * create, layer and file.
 */
export function* copyToFile(layer: Layer, wish: CopyWish): Steps<ImageDescription> {
  const { path, spec } = wish;
  yield* createFile(path, { ...spec, virtualSize: Math.max(spec.virtualSize, layer.size) });
  let session: ImageSession | undefined;
  let finished = false;
  try {
    // Nobody knows the file yet: it needs no locks.
    const file = NodeFile.open(path, { writable: true, locks: 'none' });
    session = ImageSession.open(file, { writable: true, layer: undefined, openDataFile: undefined });
    yield* session.changeInSteps((parts) => fill(parts, layer, wish));
    const description = describe(session.parts);
    const filled = session;
    session = undefined;
    filled.close();
    finished = true;
    // Closing takes its dirty bit away.
    return { ...description, dirty: false };
  } finally {
    if (!finished) {
      session?.release();
      removeFile(path);
    }
  }
}
