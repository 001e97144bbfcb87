// Everything an open image tells about itself, in qemu-img's words (OPS-32, OPS-33).

/** A snapshot as listed. `vmClockNanoseconds` and `icount` are opaque 64-bit values in decimal; sizes in bytes. */
export interface SnapshotDescription {
  /** The snapshot's id in the file, a decimal string. */
  readonly id: string;
  readonly name: string;
  readonly virtualSize: number;
  readonly vmStateSize: number;
  readonly createdAtSeconds: number;
  readonly createdAtNanoseconds: number;
  readonly vmClockNanoseconds: string;
  /** Absent when unknown (all ones in the file). */
  readonly icount?: string;
}

/** A snapshot that was looked up. */
export interface FoundSnapshot {
  /** How many come before it in the table. */
  readonly index: number;
  readonly snapshot: SnapshotDescription;
}

/** A page of the snapshots: an image has up to 65,536. */
export interface SnapshotPageQuery {
  /** How many to pass over. */
  readonly from: number;
  readonly limit: number;
}

/** How an image is encrypted, in QEMU's words; sizes and offsets in bytes. */
export type EncryptionDescription =
  { readonly format: 'aes' } | ({ readonly format: 'luks' } & Partial<LuksDescription>);

/** What a LUKS header says. */
export interface LuksDescription {
  /** Such as `aes-256`. */
  readonly cipherAlg: string;
  /** Such as `xts`. */
  readonly cipherMode: string;
  /** Such as `plain64`. */
  readonly ivgenAlg: string;
  readonly ivgenHashAlg?: string;
  readonly hashAlg: string;
  readonly payloadOffset: number;
  readonly masterKeyIters: number;
  readonly uuid: string;
  /** In their order; iterations and stripes of active ones only. */
  readonly slots: readonly {
    readonly active: boolean;
    readonly keyOffset: number;
    readonly iters?: number;
    readonly stripes?: number;
  }[];
}

/** The facts of an open image. All sizes in bytes. */
export interface ImageDescription {
  readonly virtualSize: number;
  /** Length of the image file. */
  readonly fileSize: number;
  /** Bytes the file occupies on its file system, together with its data file. */
  readonly allocatedSize: number;
  readonly clusterSize: number;
  readonly compat: '0.10' | '1.1';
  readonly compressionType: 'zlib' | 'zstd';
  readonly refcountBits: number;
  readonly lazyRefcounts: boolean;
  readonly extendedL2: boolean;
  /** Left out for an image that is not encrypted. */
  readonly encryption?: EncryptionDescription;
  readonly dirty: boolean;
  readonly corrupt: boolean;
  /** The backing file name as the header has it. */
  readonly backingFileName?: string;
  readonly backingFormat?: string;
  /** The name of the external data file as the header has it. */
  readonly dataFileName?: string;
  /** Whether the data file reads as the disk by itself; absent without one. */
  readonly dataFileRaw?: boolean;
  readonly snapshotCount: number;
  /** The largest snapshot id that is a number of 32 bits; 0 without one. */
  readonly snapshotIdMax: number;
  /** Names of persistent bitmaps in the file are counted only; 0 without bitmaps. */
  readonly bitmapCount: number;
}
