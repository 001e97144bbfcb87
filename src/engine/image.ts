// The face of the engine: one method a verb, no logic of its own. The only engine file that others import.

import type { GuestOffset } from './format/offsets.ts';
import type { BackingFile } from './layer/open-gate.ts';
import type { CheckReport, RepairMode } from './operations/check-report.ts';
import type { CreateSpec } from './operations/create-spec.ts';
import type { ExtentPage, ExtentQuery } from './operations/extent-item.ts';
import type { ImageDescription, SnapshotDescription } from './operations/image-description.ts';
import type { Steps } from './operations/steps.ts';
import type { VirtualFile } from './operations/virtual-file.ts';

export type { BackingFile } from './layer/open-gate.ts';
export type { CheckFinding, CheckReport, RepairMode } from './operations/check-report.ts';
export type { CreateSpec } from './operations/create-spec.ts';
export type { ExtentItem, ExtentPage, ExtentQuery } from './operations/extent-item.ts';
export type { ImageDescription, SnapshotDescription } from './operations/image-description.ts';
export type { Progress, Steps } from './operations/steps.ts';
export type { VirtualFile } from './operations/virtual-file.ts';

export interface OpenOptions {
  readonly path: string;
  readonly writable: boolean;
  /** The chain below, nearest first. An image that names anything else is refused (`backing-refused`). */
  readonly backing: readonly BackingFile[];
}

export interface AdmitOptions {
  readonly path: string;
  readonly backing: BackingFile | undefined;
  readonly below: readonly BackingFile[];
  readonly repair: RepairMode;
}

export declare class Image {
  static open(options: OpenOptions): Image;
  /** Makes the file; sound before its magic is valid; flushed at the end. Undone (file removed) by cancel or fault. */
  static create(path: string, spec: CreateSpec): Steps<void>;
  /** Judges a foreign file and makes it sound; faults `unsafe-image` with `violations`. The file is closed afterwards. */
  static admit(options: AdmitOptions): Steps<{ description: ImageDescription; report: CheckReport }>;
  readonly virtualSize: number;
  readonly writable: boolean;
  /** True after opening a dirty image writable: run {@link recover} before anything else. */
  readonly needsRecovery: boolean;
  recover(): Steps<CheckReport>;
  read(offset: GuestOffset, target: Uint8Array): void;
  write(offset: GuestOffset, source: Uint8Array, options: { detectZeroes: boolean }): void;
  zero(offset: GuestOffset, length: number, options: { unmap: boolean }): Steps<void>;
  discard(offset: GuestOffset, length: number): Steps<void>;
  flush(): void;
  extents(query: ExtentQuery): ExtentPage;
  describe(): ImageDescription;
  resize(options: {
    virtualSize: number;
    allowShrink: boolean;
    preallocation: CreateSpec['preallocation'];
  }): Steps<void>;
  check(): Steps<CheckReport>;
  repair(mode: 'leaks' | 'all'): Steps<CheckReport>;
  snapshots(): readonly SnapshotDescription[];
  /** `snapshot` is an id or a name, the id first; faults `snapshot-not-found`. */
  readSnapshot(snapshot: string, offset: GuestOffset, target: Uint8Array): void;
  snapshotExtents(snapshot: string, query: ExtentQuery): ExtentPage;
  /** The new id is one more than the largest id in the file, at least `idFloor`. */
  createSnapshot(options: {
    name: string;
    seconds: number;
    nanoseconds: number;
    idFloor: number;
  }): Steps<SnapshotDescription>;
  deleteSnapshot(snapshot: string): Steps<void>;
  revertSnapshot(snapshot: string): Steps<void>;
  /** Lays out a flattened, uncompressed file over what the image holds now; stale after the next change. */
  planExport(options: { format: 'qcow2' | 'raw'; snapshot: string | undefined; layer: 'all' | 'top' }): VirtualFile;
  /** Flushes, writes every clean-up, releases the file. */
  close(): void;
  /** Releases the file without writing anything more: after a broken assertion. */
  abandon(): void;
}
