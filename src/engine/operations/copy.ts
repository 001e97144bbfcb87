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
import { partOf } from './steps.ts';
import type { Steps } from './steps.ts';

/** A standalone image; it becomes as large as what it is copied from. */
export type CopySpec = Omit<CreateSpec, 'virtualSize'>;

export interface CopyWish extends FillForm {
  /** Where the new file is made; nothing is there yet. */
  readonly path: string;
  readonly spec: CopySpec;
  /** Whether data is copied by the file system where it can. */
  readonly hostCopies: boolean;
}

/**
 * The file, with its data file if it has one, is durable at the end; a cancel or a fault removes both. What the layer has
 * must not change meanwhile. Faults of create, layer and file.
 */
export function* copyToFile(layer: Layer, wish: CopyWish): Steps<ImageDescription> {
  const { path, spec, hostCopies } = wish;
  const { dataFile, encryption } = spec;
  const making = createFile(path, { ...spec, virtualSize: layer.size });
  // Nothing is copied by it.
  yield* partOf(making, { from: 0, to: 0, total: layer.size });
  let session: ImageSession | undefined;
  let finished = false;
  try {
    session = openNew(path, { dataPath: dataFile?.path, hostCopies });
    if (encryption !== undefined) session.unlock(encryption.volumeKey);
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
      if (dataFile !== undefined) removeFile(dataFile.path);
    }
  }
}

/** Nobody knows the files yet: they need no locks. */
function openNew(
  path: string,
  { dataPath, hostCopies }: { readonly dataPath: string | undefined; readonly hostCopies: boolean },
): ImageSession {
  const use = { writable: true, locks: 'none', hostCopies } as const;
  const openDataFile = dataPath === undefined ? undefined : NodeFile.open(dataPath, use);
  let file: NodeFile;
  try {
    file = NodeFile.open(path, use);
  } catch (error) {
    openDataFile?.close();
    throw error;
  }
  return ImageSession.open(file, { writable: true, layer: undefined, openDataFile });
}
