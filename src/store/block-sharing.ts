// Whether the file system of a folder lets two files share blocks: tried, because no name of a file system tells.

import { constants } from 'node:fs';
import { copyFile, open, rm } from 'node:fs/promises';
import { join } from 'node:path';

import { KiB } from '../base/units.ts';

/** As long as the largest block that is usual. */
const trialLength = 64 * KiB;

/** Makes two files in the folder, the second one of the first one's blocks, and removes both. Nobody else does at that time. */
export async function sharesBlocks(folder: string): Promise<boolean> {
  const first = join(folder, 'share-trial.1');
  const second = join(folder, 'share-trial.2');
  try {
    const file = await open(first, 'w', fileMode);
    try {
      await file.writeFile(new Uint8Array(trialLength).fill(1));
      // Some share only what is on the disk.
      await file.datasync();
    } finally {
      await file.close();
    }
    await copyFile(first, second, constants.COPYFILE_FICLONE_FORCE);
    return true;
  } catch (error) {
    // Whatever the reason is: nothing is shared then, and a full disk is told by whoever needs room.
    if (error instanceof Error && 'code' in error) return false;
    throw error;
  } finally {
    await rm(first, { force: true });
    await rm(second, { force: true });
  }
}

const fileMode = 0o600;
