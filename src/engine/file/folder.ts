// Names of files in their folder: taken away, and made durable.

import { closeSync, constants, fsyncSync, openSync, rmSync } from 'node:fs';

import { faultOfThrown } from './file-faults.ts';

/** Takes a file's name away; no file is no harm. Fault `io-error`. */
export function removeFile(path: string): void {
  try {
    rmSync(path, { force: true });
  } catch (error) {
    throw faultOfThrown(error, { operation: 'remove', path });
  }
}

/** When this returns, the name of a new file survives a crash. Fault `io-error`. */
export function flushFolderOf(path: string): void {
  try {
    const descriptor = openSync(folderOf(path), constants.O_RDONLY | constants.O_DIRECTORY);
    try {
      fsyncSync(descriptor);
    } finally {
      closeSync(descriptor);
    }
  } catch (error) {
    throw faultOfThrown(error, { operation: 'flush the folder', path });
  }
}

/** Everything before the last slash; a bare name lies in the working folder. */
function folderOf(path: string): string {
  const slash = path.lastIndexOf('/');
  if (slash < 0) return '.';
  return slash === 0 ? '/' : path.slice(0, slash);
}
