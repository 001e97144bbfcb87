// The token that the service makes for itself, in a file of the data directory that only its user can read.

import { constants } from 'node:fs';
import { open, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';

/** The token that was made once, or made now: `make` says what it is. */
export async function keepAdminToken(
  directory: string,
  make: () => string,
): Promise<{ readonly path: string; readonly token: string }> {
  const path = join(directory, fileName);
  const kept = await read(path);
  if (kept !== undefined) return { path, token: kept };
  const token = make();
  await write(path, token);
  return { path, token };
}

const fileName = 'admin-token';
const fileMode = 0o600;

async function read(path: string): Promise<string | undefined> {
  try {
    const token = (await readFile(path, { encoding: 'utf8', flag: constants.O_RDONLY | constants.O_NOFOLLOW })).trim();
    return token === '' ? undefined : token;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  }
}

/** Whole or not at all: half a token would be a token too. */
async function write(path: string, token: string): Promise<void> {
  const draft = `${path}.new`;
  await rm(draft, { force: true });
  const file = await open(draft, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, fileMode);
  try {
    await file.writeFile(`${token}\n`);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(draft, path);
}
