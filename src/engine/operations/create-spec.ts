// What a new image is to be: the create options of CRE, with qemu-img's defaults spelled out by the caller.

import type { NewLuks } from '../transform/new-luks.ts';

/** A data file that is made with an image (CRE-10, CRE-11). */
export interface NewDataFile {
  /** The name to store. */
  readonly fileName: string;
  /** Where it is made; it must not exist before. */
  readonly path: string;
  /** Whether it shall read as the disk by itself. */
  readonly raw: boolean;
}

/** All sizes in bytes. */
export interface CreateSpec {
  /** Rounded up to 512 (CRE-01). */
  readonly virtualSize: number;
  readonly clusterSize: number;
  readonly compat: '0.10' | '1.1';
  readonly refcountBits: number;
  readonly lazyRefcounts: boolean;
  readonly extendedL2: boolean;
  readonly compressionType: 'zlib' | 'zstd';
  readonly preallocation: 'off' | 'metadata' | 'falloc' | 'full';
  /** The backing file name to store, with its format; the file itself is not opened. */
  readonly backing: { readonly fileName: string; readonly format: 'qcow2' | 'raw' } | undefined;
  /** Left out for a plain image. */
  readonly encryption?: NewEncryption | undefined;
  /** Left out: the image keeps its data itself. */
  readonly dataFile?: NewDataFile | undefined;
}

/** How a new image is encrypted; its maker wipes the key. */
export type NewEncryption =
  ({ readonly format: 'luks' } & NewLuks) | { readonly format: 'aes'; readonly volumeKey: Uint8Array };
