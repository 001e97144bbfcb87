// A file that only the user of the service may read, whoever may look into its folder.

import { closeSync, fchmodSync, openSync } from 'node:fs';

const fileMode = 0o600;

/** Makes the file when it is missing. SQLite gives its log, which stands beside it, the same mode. */
export function keepPrivate(path: string): void {
  const file = openSync(path, 'a', fileMode);
  try {
    fchmodSync(file, fileMode);
  } finally {
    closeSync(file);
  }
}
