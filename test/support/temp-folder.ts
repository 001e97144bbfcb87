// A folder of its own for a test, gone when the test is over.

import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Makes an empty folder; `using` removes it with all that is in it. */
export function tempFolder(): Disposable & { readonly path: string } {
  return folderIn(tmpdir());
}

/** One in memory where there is such a place: for tests that flush much and never crash. */
export function memoryFolder(): Disposable & { readonly path: string } {
  return folderIn(existsSync(sharedMemory) ? sharedMemory : tmpdir());
}

const sharedMemory = '/dev/shm';

function folderIn(place: string): Disposable & { readonly path: string } {
  const path = mkdtempSync(join(place, 'qcowd-'));
  return {
    path,
    [Symbol.dispose]: () => {
      rmSync(path, { recursive: true, force: true });
    },
  };
}
