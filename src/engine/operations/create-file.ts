// Makes a new image file, or leaves none.

import { flushFolderOf, removeFile } from '../file/folder.ts';
import { NodeFile } from '../file/node-file.ts';
import { createImage } from './create.ts';
import type { CreateSpec } from './create-spec.ts';
import type { Steps } from './steps.ts';

/** The file and its name are durable at the end; a cancel or a fault removes it. It must not exist before. */
export function* createFile(path: string, spec: CreateSpec): Steps<void> {
  const file = NodeFile.create(path);
  let finished = false;
  try {
    yield* createImage(file, spec);
    flushFolderOf(path);
    finished = true;
  } finally {
    file.close();
    if (!finished) removeFile(path);
  }
}
