// What tells a file from a changed or exchanged one.

/** Size in bytes, time of the last change, inode number. */
export interface FileIdentity {
  readonly size: number;
  readonly modifiedAtMs: number;
  readonly inode: number;
}
