// A file that is never stored: any part of it is made when it is asked for.

/** Offsets and lengths in bytes; a read lies inside `length`. */
export interface VirtualFile {
  readonly length: number;
  /** Fills `target` with the bytes from `offset` on. */
  read(offset: number, target: Uint8Array): void;
}
