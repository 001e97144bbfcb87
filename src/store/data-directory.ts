// The data directory: image files by id, staging files, the catalog's file; publish, unlink, free space.
//
//   <dir>/catalog.sqlite
//   <dir>/lock                  held by the one process that owns the directory (see directory-lock.ts)
//   <dir>/images/<id>.qcow2     published images: the only files that the catalog's records stand for
//   <dir>/images/<id>.data      beside it, the data of an image that keeps it in an external file
//   <dir>/staging/<id>.*        files that still come in, under the id that they will have

import { constants } from 'node:fs';
import type { Stats } from 'node:fs';
import { mkdir, open, readdir, rename, rm, stat, statfs } from 'node:fs/promises';
import { dirname, join } from 'node:path';

import { assert } from '../base/assert.ts';
import type { FileIdentity } from '../base/file-identity.ts';
import { sharesBlocks } from './block-sharing.ts';
import { FileSyncs } from './file-syncs.ts';
import { StagedFile } from './staged-file.ts';
import { StagingWriter } from './staging-writer.ts';
import { TakenFile } from './taken-file.ts';

/** Bytes of the file system that holds the data directory. */
export interface Space {
  /** What this process may still use. */
  readonly freeBytes: number;
  readonly totalBytes: number;
}

/** Which of the two folders of image files. */
export type ImageFolder = 'images' | 'staging';

/** File names are ids that we made; names given by users never reach the file system. */
export class DataDirectory {
  readonly #path: string;

  private constructor(path: string) {
    this.#path = path;
  }

  /** Makes the folders that are missing, for this user only. */
  static async open(path: string): Promise<DataDirectory> {
    for (const folder of [path, join(path, 'images'), join(path, 'staging')]) {
      await makeFolder(folder);
    }
    await syncPath(path);
    return new DataDirectory(path);
  }

  get catalogPath(): string {
    return join(this.#path, 'catalog.sqlite');
  }

  /** The name of an image's file, also as overlays store it. */
  fileName(id: string): string {
    assert(idPattern.test(id), 'a file is named by an id that we made');
    return `${id}${imageSuffix}`;
  }

  imagePath(id: string): string {
    return join(this.#path, 'images', this.fileName(id));
  }

  /** The name of an image's external data file, also as the image stores it. */
  dataFileName(id: string): string {
    assert(idPattern.test(id), 'a file is named by an id that we made');
    return `${id}${dataSuffix}`;
  }

  dataPath(folder: ImageFolder, id: string): string {
    return join(this.#path, folder, this.dataFileName(id));
  }

  stagingPath(id: string): string {
    return join(this.#path, 'staging', this.fileName(id));
  }

  /** Starts an empty staging file. */
  async stage(id: string, options: { readonly digest: boolean }): Promise<StagingWriter> {
    return StagingWriter.create(this.stagingPath(id), options);
  }

  /** A staging file, or the data file beside it, that somebody else writes to, to be made durable meanwhile. */
  async openStaged(id: string, file: 'image' | 'data'): Promise<StagedFile> {
    return StagedFile.open(file === 'image' ? this.stagingPath(id) : this.dataPath('staging', id));
  }

  /** A finished staging file as its reader's own: nobody finds it any more. */
  async takeStaged(id: string): Promise<TakenFile> {
    return TakenFile.take(this.stagingPath(id));
  }

  /** Syncs of the file that an image keeps its data in, beside a run that changes it. */
  async openSyncs(id: string): Promise<FileSyncs> {
    const dataPath = this.dataPath('images', id);
    return FileSyncs.open((await statOf(dataPath)) === undefined ? this.imagePath(id) : dataPath);
  }

  /** Moves a staging file to the images, its data first. When this returns, files and move survive a crash. */
  async publish(id: string): Promise<void> {
    await syncPath(this.stagingPath(id));
    const dataPath = this.dataPath('staging', id);
    if ((await statOf(dataPath)) !== undefined) {
      await syncPath(dataPath);
      await rename(dataPath, this.dataPath('images', id));
    }
    await rename(this.stagingPath(id), this.imagePath(id));
    await syncPath(join(this.#path, 'images'));
    await syncPath(join(this.#path, 'staging'));
  }

  /** Removes a file, and its data file, durably; no file is no harm. */
  async remove(folder: ImageFolder, id: string): Promise<void> {
    await rm(join(this.#path, folder, this.fileName(id)), { force: true });
    await rm(this.dataPath(folder, id), { force: true });
    await syncPath(join(this.#path, folder));
  }

  /** The ids that have an image file in a folder. Files that we did not name are not ours to touch. */
  async list(folder: ImageFolder): Promise<readonly string[]> {
    return this.#listBySuffix(folder, imageSuffix);
  }

  /** The ids that have a data file in a folder. */
  async listData(folder: ImageFolder): Promise<readonly string[]> {
    return this.#listBySuffix(folder, dataSuffix);
  }

  /** What the image's file and its data file are now, or undefined without an image file. */
  async identify(id: string): Promise<FileIdentity | undefined> {
    const image = await identityOf(this.imagePath(id));
    if (image === undefined) return undefined;
    const data = await identityOf(this.dataPath('images', id));
    return (data === undefined ? image : `${image}+${data}`) as FileIdentity;
  }

  /** The bytes that the image files of a folder, and their data files, occupy on their file system. */
  async occupied(folder: ImageFolder): Promise<number> {
    let bytes = 0;
    for (const id of await this.list(folder)) {
      const found = await statOf(join(this.#path, folder, this.fileName(id)));
      bytes += (found?.blocks ?? 0) * blockLength;
    }
    for (const id of await this.listData(folder)) {
      const found = await statOf(this.dataPath(folder, id));
      bytes += (found?.blocks ?? 0) * blockLength;
    }
    return bytes;
  }

  /** Also proves that the folder of images is there. */
  async space(): Promise<Space> {
    const { bsize, bavail, blocks } = await statfs(join(this.#path, 'images'));
    return { freeBytes: bavail * bsize, totalBytes: blocks * bsize };
  }

  /** Whether image files can share blocks, so that data goes from one to another without being moved. */
  async sharesBlocks(): Promise<boolean> {
    return sharesBlocks(join(this.#path, 'staging'));
  }

  async #listBySuffix(folder: ImageFolder, suffix: string): Promise<readonly string[]> {
    const names = await readdir(join(this.#path, folder));
    return names
      .filter((name) => name.endsWith(suffix))
      .map((name) => name.slice(0, -suffix.length))
      .filter((id) => idPattern.test(id))
      .toSorted();
  }
}

const imageSuffix = '.qcow2';
const dataSuffix = '.data';

/** Undefined without such a file. */
async function identityOf(path: string): Promise<string | undefined> {
  try {
    const { ino, size, mtimeNs } = await stat(path, { bigint: true });
    return `${ino}:${size}:${mtimeNs}`;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  }
}

/** `st_blocks` counts these, whatever the file system's own blocks are. */
const blockLength = 512;

/** Undefined without such a file: it may go while we look. */
async function statOf(path: string): Promise<Stats | undefined> {
  try {
    return await stat(path);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  }
}

const folderMode = 0o700;

/**
 * Makes a folder where there is none, and those above it. Not by `recursive`: below a folder that takes no new ones, as
 * /proc, Node 24 tries that for ever.
 */
async function makeFolder(path: string): Promise<void> {
  if (await isFolder(path)) return;
  const parent = dirname(path);
  if (parent !== path) await makeFolder(parent);
  try {
    await mkdir(path, { mode: folderMode });
  } catch (error) {
    // Somebody else may have made it meanwhile.
    if (!(await isFolder(path))) throw error;
  }
}

/** What cannot be looked at is none: making it says why. */
async function isFolder(path: string): Promise<boolean> {
  return stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );
}

const idPattern = /^img_[0-9a-f-]{36}$/;

/** Makes a file's bytes, or a folder's names, survive a crash. */
async function syncPath(path: string): Promise<void> {
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}
