// What a new image is to be: the create options of CRE, with qemu-img's defaults spelled out by the caller.

import type { NewLuks } from '../transform/new-luks.ts';

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
}

/** How a new image is encrypted; its maker wipes the key. */
export type NewEncryption =
  ({ readonly format: 'luks' } & NewLuks) | { readonly format: 'aes'; readonly volumeKey: Uint8Array };
