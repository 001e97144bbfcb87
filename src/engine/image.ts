// The face of the engine: one method a verb, no logic of its own. The only engine file that others import.

import { Fault } from '../base/fault.ts';
import { ChainVerbs } from './chain-verbs.ts';
import { layerOver } from './data/image-layer.ts';
import { read } from './data/reader.ts';
import { overwrites, write } from './data/writer.ts';
import { writeDetectingZeroes } from './data/zero-detection.ts';
import type { ByteFile } from './file/byte-file.ts';
import { NodeFile } from './file/node-file.ts';
import type { GuestOffset } from './format/offsets.ts';
import type { ReadParts } from './image-parts.ts';
import type { Layer } from './layer/layer.ts';
import { admit } from './operations/admit.ts';
import type { Admitted } from './operations/admit.ts';
import type { AmendWish } from './operations/amend-rules.ts';
import { check } from './operations/check.ts';
import type { CheckReport } from './operations/check-report.ts';
import { discardInSteps, zeroInSteps } from './operations/clear.ts';
import { compact } from './operations/compact.ts';
import type { Compacted } from './operations/compact.ts';
import { copyToFile } from './operations/copy.ts';
import { createFile } from './operations/create-file.ts';
import type { CreateSpec } from './operations/create-spec.ts';
import { describe, describeSnapshots, findSnapshot } from './operations/describe.ts';
import { digest } from './operations/digest.ts';
import type { ExtentPage, ExtentQuery } from './operations/extent-item.ts';
import { listExtents } from './operations/extents.ts';
import type {
  FoundSnapshot,
  ImageDescription,
  SnapshotDescription,
  SnapshotPageQuery,
} from './operations/image-description.ts';
import type {
  AdmitOptions,
  CopyOptions,
  ExportWish,
  OpenFileOptions,
  OpenOptions,
} from './operations/image-options.ts';
import { ImageSession } from './operations/image-session.ts';
import { inspect } from './operations/inspect.ts';
import type { ImageInspection } from './operations/inspect.ts';
import { measureImage } from './operations/measure.ts';
import type { MeasuredSize, MeasureSpec } from './operations/measure.ts';
import { resize } from './operations/resize.ts';
import type { NewSize } from './operations/resize.ts';
import type { RuntimeOptions } from './operations/runtime-options.ts';
import { createSnapshot, deleteSnapshot, revertSnapshot } from './operations/snapshot.ts';
import type { NewSnapshot } from './operations/snapshot.ts';
import type { Steps } from './operations/steps.ts';
import { planExport } from './operations/virtual-export.ts';
import type { VirtualFile } from './operations/virtual-file.ts';
import { readVmState, writeVmState } from './operations/vm-state.ts';
import { writeCompressed } from './operations/write-compressed.ts';

export type { FileLocks } from './file/node-file.ts';
export { CacheBudget } from './metadata/cache-budget.ts';
export type { CacheTotals } from './metadata/cache-budget.ts';
export type { BackingFile, DataFileSource } from './layer/open-gate.ts';
export type { AmendWish } from './operations/amend-rules.ts';
export type { VolumeKeys } from './operations/chain-keys.ts';
export type { BitmapDescription, BitmapList, BitmapListQuery, NewBitmap } from './operations/bitmap.ts';
export type { DirtyExtent, DirtyExtentPage, DirtyExtentQuery } from './operations/bitmap-extents.ts';
export type { Comparison, ComparisonWish } from './operations/compare.ts';
export type { CheckFinding, CheckReport, RepairMode } from './operations/check-report.ts';
export type { CopySpec } from './operations/copy.ts';
export type { CreateSpec, NewDataFile, NewEncryption } from './operations/create-spec.ts';
export type { ExtentItem, ExtentPage, ExtentQuery } from './operations/extent-item.ts';
export type {
  FoundSnapshot,
  ImageDescription,
  SnapshotDescription,
  SnapshotPageQuery,
} from './operations/image-description.ts';
export type { AdmitOptions, ExportWish, OpenFileOptions, OpenOptions } from './operations/image-options.ts';
export type { ImageInspection } from './operations/inspect.ts';
export type { Compacted } from './operations/compact.ts';
export type { RuntimeOptions } from './operations/runtime-options.ts';
export { partOf } from './operations/steps.ts';
export type { Progress, Steps } from './operations/steps.ts';
export type { KeySlotPlan, KeySlotWish } from './operations/key-slots.ts';
export { guardFiles } from './operations/guard-files.ts';
export type { FileGuard } from './operations/guard-files.ts';
export { judgeHead } from './operations/judge-head.ts';
export { measureNew } from './operations/measure.ts';
export type { MeasuredSize, MeasureSpec } from './operations/measure.ts';
export type { RebaseWish } from './operations/rebase.ts';
export type { VirtualFile } from './operations/virtual-file.ts';
export type { KeyNeed, WithKeys } from './transform/key-derivation.ts';
export type { CodecNeed } from './transform/codec-need.ts';
export type { CodecResult, CodecTask } from './transform/codec-task.ts';
export { performTask } from './transform/codec-work.ts';
export { oldAesKeyOf } from './operations/unlock.ts';
export { chanceLength, judgeLuksWish, keyCostFor, makeLuks, slotIterationsFor } from './transform/new-luks.ts';
export type { KeyCost, LuksCipher, LuksWish, NewLuks } from './transform/new-luks.ts';

/**
 * An open image. Spans lie inside the disk, or the verb faults `range-not-satisfiable` {size}. Changing verbs fault
 * `image-read-only` on an image that was opened for reading, and `image-marked-corrupt` once corruption was met.
 */
export class Image extends ChainVerbs {
  readonly #session: ImageSession;

  private constructor(session: ImageSession) {
    super(session);
    this.#session = session;
  }

  /** Faults of file and format, `backing-refused`, and what this engine does not support, by name. */
  static open(options: OpenOptions): Image {
    const { path, backing: chain, dataFile, runtime, ...use } = options;
    const file = NodeFile.open(path, use);
    return new Image(ImageSession.open(file, { ...use, caches: use.caches, chain, dataFile, runtime }));
  }

  /** Over a file that is open already, which the image closes. */
  static openFile(file: ByteFile, options: OpenFileOptions): Image {
    const { writable, backing, dataFile } = options;
    return new Image(ImageSession.open(file, { writable, layer: backing, openDataFile: dataFile }));
  }

  /** Makes the file; sound before its magic is valid; flushed at the end. Undone (file removed) by cancel or fault. */
  static create(path: string, spec: CreateSpec): Steps<void> {
    return createFile(path, spec);
  }

  /** Judges a foreign file and makes it sound; faults `unsafe-image` with `violations`. The file is closed afterwards. */
  static *admit(options: AdmitOptions): Steps<Admitted> {
    const file = NodeFile.open(options.path, { writable: true, locks: options.locks });
    try {
      return yield* admit(file, options);
    } finally {
      file.close();
    }
  }

  get virtualSize(): number {
    return this.#session.header.virtualSize;
  }

  get writable(): boolean {
    return this.#session.writable;
  }

  /** True after opening a dirty image writable: run {@link recover} before anything else. */
  get needsRecovery(): boolean {
    return this.#session.writable && this.#session.header.isDirty && !this.#session.ownsDirtyBit;
  }

  recover(): Steps<CheckReport> {
    return this.repair('all');
  }

  read(offset: GuestOffset, target: Uint8Array): void {
    this.#session.admitKeys('chain');
    this.#session.admitSpan(offset, target.length);
    this.#session.look((parts) => {
      read(parts, offset, target);
    });
  }

  write(offset: GuestOffset, source: Uint8Array, options: { readonly detectZeroes: boolean }): void {
    this.#session.admitKeys('chain');
    this.#session.admitSpan(offset, source.length);
    this.#session.change((parts) => {
      if (options.detectZeroes) writeDetectingZeroes(parts, offset, source);
      else write(parts, offset, source);
    });
  }

  /**
   * Writes whole clusters, the last of which may be cut by the end of the disk, in packed form. Fault
   * `unsupported-option` {option: compress} for other spans, encrypted images and those with a data file.
   */
  writeCompressed(offset: GuestOffset, source: Uint8Array, options: { readonly detectZeroes: boolean }): Steps<void> {
    this.#session.admitKeys('chain');
    this.#session.admitSpan(offset, source.length);
    return this.#session.changeInSteps((parts) => writeCompressed(parts, offset, { source, ...options }));
  }

  /** Whether a write of this span would change bytes in their places only, and no metadata. Changes nothing. */
  overwrites(offset: GuestOffset, length: number): boolean {
    return this.#session.writable && overwrites(this.#session.parts, offset, length);
  }

  zero(offset: GuestOffset, length: number, options: { readonly unmap: boolean }): Steps<void> {
    this.#session.admitKeys('chain');
    this.#session.admitSpan(offset, length);
    const span = { offset, length };
    return this.#session.changeInSteps((parts) => zeroInSteps(parts, span, options));
  }

  discard(offset: GuestOffset, length: number): Steps<void> {
    this.#session.admitKeys('chain');
    this.#session.admitSpan(offset, length);
    const span = { offset, length };
    return this.#session.changeInSteps((parts) => discardInSteps(parts, span));
  }

  /** What was changed before it survives a crash when it returns. Fault `image-marked-corrupt` after corruption. */
  flush(): void {
    this.#session.flush();
  }

  /** As {@link flush}, and bitmaps and clean-ups are stored as by {@link close}; the image goes on. */
  settle(): void {
    this.#session.flush();
    this.#session.storeAll();
  }

  extents(query: ExtentQuery): ExtentPage {
    this.#session.admitSpan(query.offset, query.length);
    return this.#session.look((parts) => listExtents(layerOver(parts, this.virtualSize), query));
  }

  describe(): ImageDescription {
    return describe(this.#session.parts);
  }

  /** Other caches and rules from now on; durable is everything before it. Fault `unsupported-option`: nothing is changed. */
  setRuntime(options: RuntimeOptions): void {
    this.#session.setRuntime(options);
  }

  inspect(): ImageInspection {
    return inspect(this.#session.parts);
  }

  resize(options: NewSize): Steps<void> {
    this.#session.admitKeys('chain');
    return this.#session.changeInSteps((parts) => resize(parts, options));
  }

  /**
   * All of the wish, or nothing of it. Faults `unsupported-option` {option, value, reason}, `refcount-overflow`,
   * `header-full`, `image-full`; `passphrase-required` where zeroes are to be encrypted.
   */
  amend(wish: AmendWish): Steps<void> {
    return this.#session.amend(wish);
  }

  /** Judges the file as it is; nothing may change meanwhile. */
  check(): Steps<CheckReport> {
    return this.#session.checkWith(check);
  }

  /** Mends the file and goes on with what it is then. */
  repair(mode: 'leaks' | 'all'): Steps<CheckReport> {
    return this.#session.repairWith(mode);
  }

  /** In the order of the table. */
  snapshots(page: SnapshotPageQuery): readonly SnapshotDescription[] {
    return describeSnapshots(this.#session.parts, page);
  }

  /** `snapshot` is an id or a name, the id first. */
  findSnapshot(snapshot: string): FoundSnapshot | undefined {
    return findSnapshot(this.#session.parts, snapshot);
  }

  /** `snapshot` is an id or a name, the id first; faults `snapshot-not-found`. */
  readSnapshot(snapshot: string, offset: GuestOffset, target: Uint8Array): void {
    this.#session.admitKeys('chain');
    const { parts, size } = this.#session.snapshot(snapshot);
    if (offset + target.length > size) throw new Fault('range-not-satisfiable', { size });
    read(parts, offset, target);
  }

  snapshotExtents(snapshot: string, query: ExtentQuery): ExtentPage {
    const { parts, size } = this.#session.snapshot(snapshot);
    return listExtents(layerOver(parts, size), query);
  }

  /** The new id is one more than the largest id in the file, at least `idFloor`. */
  createSnapshot(options: NewSnapshot): Steps<SnapshotDescription> {
    return this.#session.changeInSteps((parts) => createSnapshot(parts, options));
  }

  /** `snapshot` as above. A part of its VM state, which is as long as its description says. */
  readVmState(snapshot: string, offset: number, target: Uint8Array): void {
    this.#session.admitKeys('chain');
    readVmState(this.#session.snapshot(snapshot), offset, target);
  }

  /**
   * The bytes of a file, given by its path or open, become the VM state of a snapshot, in the place of the one before; a
   * fault or a cancel leaves that one. Faults `snapshot-not-found`, `content-too-large`.
   */
  writeVmState(snapshot: string, source: string | ByteFile): Steps<void> {
    this.#session.admitKeys('chain');
    return this.#session.changeInSteps((parts) => writeVmState(parts, { snapshot, source }));
  }

  deleteSnapshot(snapshot: string): Steps<void> {
    return this.#session.changeInSteps((parts) => deleteSnapshot(parts, snapshot));
  }

  revertSnapshot(snapshot: string): Steps<void> {
    return this.#session.changeInSteps((parts) => revertSnapshot(parts, snapshot));
  }

  /** How large a copy of the image, or of a snapshot (by id or name, the id first), will be; see {@link MeasuredSize}. */
  measure(wish: { readonly snapshot: string | undefined; readonly spec: MeasureSpec }): Steps<MeasuredSize> {
    const { parts, size } = this.#view(wish.snapshot);
    return measureImage(this.#session.parts, { layer: layerOver(parts, size), spec: wish.spec });
  }

  /** Makes the file smaller; the guest's bytes stay. See {@link compact}. */
  compact(wish: { readonly detectZeroes: boolean }): Steps<Compacted> {
    this.#session.admitKeys('image');
    return this.#session.changeInSteps((parts) => compact(parts, wish));
  }

  /** The SHA-256 of the guest bytes of the image, or of a snapshot, in hexadecimal digits; nothing may change meanwhile. */
  digest(snapshot: string | undefined): Steps<string> {
    this.#session.admitKeys('chain');
    const { parts, size } = this.#view(snapshot);
    return digest(layerOver(parts, size));
  }

  /** A standalone file of what the image, or a snapshot, holds; nothing may change meanwhile. See {@link copyToFile}. */
  copyTo(wish: CopyOptions): Steps<ImageDescription> {
    const { path, spec, compress, layer } = wish;
    const { hostCopies } = this.#session.files;
    return copyToFile(this.#layerOf(wish), { path, spec, compress, keepsZeroes: layer === 'top', hostCopies });
  }

  /** Lays out a flattened, uncompressed file over what the image holds now; stale after the next change. */
  planExport(wish: ExportWish): Steps<VirtualFile> {
    const { clusterSize } = this.#session.parts.geometry;
    return planExport({ format: wish.format, layer: this.#layerOf(wish), clusterSize });
  }

  /** Flushes, writes every clean-up, releases the file; the file is released when that faults, too. */
  close(): void {
    this.#session.close();
  }

  /** Releases the file without writing anything more: after a broken assertion. */
  abandon(): void {
    this.#session.release();
  }

  /** A view of the live disk or a snapshot, whole or without what lies below. */
  #layerOf(wish: { readonly snapshot: string | undefined; readonly layer: 'all' | 'top' }): Layer {
    this.#session.admitKeys(wish.layer === 'top' ? 'image' : 'chain');
    const { parts, size } = this.#view(wish.snapshot);
    return layerOver(wish.layer === 'top' ? { ...parts, backing: undefined } : parts, size);
  }

  /** The live disk, or a snapshot at its own size. */
  #view(snapshot: string | undefined): { readonly parts: ReadParts; readonly size: number } {
    if (snapshot !== undefined) return this.#session.snapshot(snapshot);
    return { parts: this.#session.parts, size: this.virtualSize };
  }
}
