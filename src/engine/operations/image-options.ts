// How an image is opened, admitted and laid out for an export.

import type { ByteFile } from '../file/byte-file.ts';
import type { FileLocks } from '../file/node-file.ts';
import type { Layer } from '../layer/layer.ts';
import type { BackingFile, DataFileSource } from '../layer/open-gate.ts';
import type { CacheBudget } from '../metadata/cache-budget.ts';
import type { RepairMode } from './check-report.ts';
import type { CopySpec } from './copy.ts';
import type { RuntimeOptions } from './runtime-options.ts';

export interface OpenOptions {
  readonly path: string;
  readonly writable: boolean;
  /** Whether QEMU's byte locks are held on every file of the chain while the image is open. */
  readonly locks: FileLocks;
  /** Whether a guard here holds the locks of the image and its data file, which are not asked about then; see `guardFiles`. */
  readonly shares?: boolean | undefined;
  /** The chain below, nearest first. An image that names anything else is refused (`backing-refused`). */
  readonly backing: readonly BackingFile[];
  /** The only data file that the image may name, else it is refused (`data-file-refused`); left out for none. */
  readonly dataFile?: DataFileSource | undefined;
  /** How it is run; left out for what the engine does by itself, as are options that do not fit the image. */
  readonly runtime?: RuntimeOptions | undefined;
  /** Whether data that goes from file to file is copied by the file system where it can; left out for no (OPS-25). */
  readonly hostCopies?: boolean | undefined;
  /** What the caches of all images that are opened with it share; undefined for as much as they want. */
  readonly caches?: CacheBudget | undefined;
}

export interface OpenFileOptions {
  readonly writable: boolean;
  /** The layer below, for an image that names one. It is closed with the image. */
  readonly backing: Layer | undefined;
  /** The file with the data, for an image that has one. It is closed with the image. */
  readonly dataFile?: ByteFile | undefined;
}

export interface AdmitOptions {
  readonly path: string;
  readonly backing: BackingFile | undefined;
  readonly below: readonly BackingFile[];
  readonly repair: RepairMode;
  readonly locks: FileLocks;
}

/** Which file `Image.planExport` lays out. */
export interface ExportWish {
  readonly format: 'qcow2' | 'raw';
  /** An id or a name, the id first; undefined for the live image. */
  readonly snapshot: string | undefined;
  /** `top`: what this image itself holds, without the layers below. */
  readonly layer: 'all' | 'top';
}

/** What `Image.copyTo` copies, and into which file; see `CopyWish`. */
export interface CopyOptions extends Pick<ExportWish, 'snapshot' | 'layer'> {
  readonly path: string;
  readonly spec: CopySpec;
  readonly compress: boolean;
}
