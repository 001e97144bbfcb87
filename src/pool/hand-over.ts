// What only the thread of an open image knows of it, for the thread that takes the image over.

import type { RuntimeOptions, VolumeKeys } from './protocol.ts';

export interface HandOver {
  readonly generation: number;
  readonly vmStateGeneration: number;
  readonly epoch: number;
  readonly runtime: RuntimeOptions | undefined;
  /** All keys in a row, in a buffer that travels and leaves nothing behind. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Of which file each of them is, and how long. */
  readonly keysOf: readonly { readonly path: string; readonly length: number }[];
}

/** Copies the keys. */
export function packKeys(keys: VolumeKeys): Pick<HandOver, 'bytes' | 'keysOf'> {
  const keysOf = Array.from(keys, ([path, { length }]) => ({ path, length }));
  const bytes = new Uint8Array(keysOf.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const key of keys.values()) {
    bytes.set(key, at);
    at += key.length;
  }
  return { bytes, keysOf };
}

/** The keys again, each in a buffer of its own; the packed ones are wiped. */
export function unpackKeys({ bytes, keysOf }: Pick<HandOver, 'bytes' | 'keysOf'>): VolumeKeys {
  const keys = new Map<string, Uint8Array>();
  let at = 0;
  for (const { path, length } of keysOf) {
    keys.set(path, bytes.slice(at, at + length));
    at += length;
  }
  bytes.fill(0);
  return keys;
}
