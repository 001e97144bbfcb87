// A seeded life of an image: what it is at first, and what happens to it. The same life is lived by our engine and by QEMU.

export type Compat = '0.10' | '1.1';
export type Preallocation = 'off' | 'metadata' | 'falloc' | 'full';

/** The form of an image by itself. */
export interface Form {
  readonly compat: Compat;
  readonly clusterSize: number;
  readonly refcountBits: number;
  readonly extendedL2: boolean;
  readonly lazyRefcounts: boolean;
  readonly compressionType: 'zlib' | 'zstd';
}

/** A file that may lie below an image; `middle.qcow2` stands on `base.raw`, the others on nothing. */
export type LayerName = 'base.raw' | 'middle.qcow2' | 'other.qcow2';

export const layerNames: readonly LayerName[] = ['base.raw', 'middle.qcow2', 'other.qcow2'];

export interface StreamOptions extends Form {
  readonly virtualSize: number;
  readonly below: LayerName | undefined;
  /** By which the layers below are made; sizes in bytes. */
  readonly layers: {
    readonly baseSize: number;
    readonly middle: { readonly clusterSize: number; readonly virtualSize: number };
    readonly other: { readonly clusterSize: number; readonly virtualSize: number };
  };
  /** Whether the data lies in an external file, and whether that reads as the disk by itself. */
  readonly dataFile: 'none' | 'mapped' | 'raw';
  readonly encryption: 'none' | 'luks' | 'aes';
  readonly preallocation: Preallocation;
}

export interface Amendment {
  readonly compat?: Compat;
  readonly refcountBits?: number;
  readonly lazyRefcounts?: boolean;
  readonly dataFileRaw?: false;
}

export type BitmapChange =
  | { readonly verb: 'add'; readonly granularity: number; readonly enabled: boolean }
  | { readonly verb: 'clear' | 'enable' | 'disable' | 'delete' }
  | { readonly verb: 'merge'; readonly from: string };

export type Operation =
  | { readonly kind: 'write'; readonly offset: number; readonly length: number; readonly pattern: number }
  /** Zeroes, which ours looks for in what is written. */
  | { readonly kind: 'blank'; readonly offset: number; readonly length: number }
  /** Packed: whole clusters, or to the end of the disk. */
  | { readonly kind: 'pack'; readonly offset: number; readonly length: number; readonly pattern: number }
  | { readonly kind: 'zero'; readonly offset: number; readonly length: number; readonly unmap: boolean }
  | { readonly kind: 'discard'; readonly offset: number; readonly length: number }
  | { readonly kind: 'flush' }
  | { readonly kind: 'reopen' }
  /** Ours judges itself and makes its file smaller; nothing that QEMU would see changes. */
  | { readonly kind: 'check' | 'compact' }
  | { readonly kind: 'resize'; readonly virtualSize: number; readonly preallocation: Preallocation }
  | { readonly kind: 'snapshot'; readonly name: string; readonly vmState: VmState | undefined }
  | { readonly kind: 'delete'; readonly name: string }
  | { readonly kind: 'revert'; readonly name: string }
  | { readonly kind: 'bitmap'; readonly name: string; readonly change: BitmapChange }
  | { readonly kind: 'amend'; readonly amendment: Amendment }
  | { readonly kind: 'rebase'; readonly mode: 'safe' | 'unsafe'; readonly below: LayerName | undefined }
  /** Into the next layer; the image is emptied then, as `qemu-img commit` does it. */
  | { readonly kind: 'commit' }
  | { readonly kind: 'empty' }
  /** The life goes on with the copy. */
  | { readonly kind: 'copy'; readonly form: Form; readonly compress: boolean }
  /** Another passphrase for a LUKS image, or one less. */
  | { readonly kind: 'key'; readonly state: 'active' | 'inactive'; readonly slot: number };

export interface VmState {
  readonly length: number;
  readonly pattern: number;
}

export interface Stream {
  readonly seed: number;
  readonly options: StreamOptions;
  readonly operations: readonly Operation[];
}

/** Half of all streams leave it to the file system to copy what goes from file to file. */
export function leavesCopies({ seed }: Pick<Stream, 'seed'>): boolean {
  return seed % 2 === 1;
}

/** Bytes. */
export const sector = 512;
