// Keeps other programs out of an image's files while the image is closed in one place and opened in another.

import { Fault } from '../../base/fault.ts';
import { NodeFile } from '../file/node-file.ts';
import type { NodeFileOptions } from '../file/node-file.ts';
import type { OpenOptions } from './image-options.ts';

/** Holds the locks until it is closed. */
export interface FileGuard {
  close(): void;
}

/**
 * Takes the locks of an image that is open here, of its data file and of the chain below, beside the opener that has them:
 * no moment is left for anybody else when that one closes the files, and they are opened again with `shares`. Fault
 * `io-error` when a file is not there any more.
 */
export function guardFiles(
  options: Pick<OpenOptions, 'path' | 'writable' | 'locks' | 'dataFile' | 'backing'>,
): FileGuard {
  const { path, writable, locks, dataFile, backing } = options;
  if (locks === 'none') return { close: () => undefined };
  const files: NodeFile[] = [];
  const close = (): void => {
    for (const file of files) file.close();
  };
  const hold = (held: string, use: Pick<NodeFileOptions, 'writable' | 'locks'>): void => {
    files.push(NodeFile.open(held, { ...use, shares: true }));
  };
  try {
    hold(path, { writable, locks });
    holdIfThere(dataFile?.path, (held) => hold(held, { writable, locks: 'qemu-data' }));
    for (const layer of backing) {
      hold(layer.path, { writable: false, locks });
      holdIfThere(layer.dataFile?.path, (held) => hold(held, { writable: false, locks: 'qemu-data' }));
    }
    return { close };
  } catch (error) {
    close();
    throw error;
  }
}

/** Only some images have the data file that they may have. */
function holdIfThere(path: string | undefined, hold: (path: string) => void): void {
  if (path === undefined) return;
  try {
    hold(path);
  } catch (error) {
    if (!(error instanceof Fault) || error.context['systemCode'] !== 'ENOENT') throw error;
  }
}
