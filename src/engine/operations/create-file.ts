// Makes a new image file, with its data file if it has one, or leaves none.

import { flushFolderOf, removeFile } from '../file/folder.ts';
import { NodeFile } from '../file/node-file.ts';
import { createImage } from './create.ts';
import type { CreateSpec } from './create-spec.ts';
import type { Steps } from './steps.ts';

/** The files and their names are durable at the end; a cancel or a fault removes them. They must not exist before. */
export function* createFile(path: string, spec: CreateSpec): Steps<void> {
  const { dataFile } = spec;
  if (dataFile === undefined) {
    yield* inNewFile(path, (file) => createImage(file, spec));
    return;
  }
  yield* inNewFile(dataFile.path, (data) => inNewFile(path, (file) => createImage(file, spec, data)));
}

/** The file is closed afterwards, and goes when the work does not come to its end. */
function* inNewFile(path: string, work: (file: NodeFile) => Steps<void>): Steps<void> {
  const file = NodeFile.create(path);
  let finished = false;
  try {
    yield* work(file);
    flushFolderOf(path);
    finished = true;
  } finally {
    file.close();
    if (!finished) removeFile(path);
  }
}
