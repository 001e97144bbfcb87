// One open image from open to close: its parts, whether they may be changed, and what became of them.

import { Fault } from '../../base/fault.ts';
import type { ByteFile } from '../file/byte-file.ts';
import type { FileLocks } from '../file/node-file.ts';
import { TrackedFile } from '../file/tracked-file.ts';
import type { ImageParts, ReadParts, WriteParts } from '../image-parts.ts';
import type { Layer } from '../layer/layer.ts';
import type { BackingFile } from '../layer/open-gate.ts';
import { HeaderArea } from '../metadata/header-area.ts';
import type { CheckReport } from './check-report.ts';
import { openBacking, readParts, refuseUnsupported, snapshotTree, writeParts } from './open.ts';
import { repair } from './repair.ts';
import type { Steps } from './steps.ts';

export type SessionOptions =
  | { readonly writable: boolean; readonly chain: readonly BackingFile[]; readonly locks: FileLocks }
  | { readonly writable: boolean; readonly layer: Layer | undefined };

/** A snapshot's tree to read from, and the size of its disk. */
export interface SnapshotView {
  readonly parts: ReadParts;
  readonly size: number;
}

/** L1 tables of snapshots that are kept for the next read. */
const snapshotViewsMax = 8;

/**
 * Reading parts are always there, unless the image is so broken that only a check can open it; then every other verb
 * faults with what is wrong.
 */
export class ImageSession {
  readonly #file: TrackedFile;
  readonly #options: SessionOptions;
  readonly #backing: Layer | undefined;
  #header: HeaderArea;
  #read: ImageParts | undefined;
  #write: WriteParts | undefined;
  /** Why there are no parts. */
  #broken: Fault | undefined;
  #corrupt = false;
  readonly #views = new Map<string, SnapshotView>();

  private constructor(file: ByteFile, options: SessionOptions) {
    this.#file = new TrackedFile(file);
    this.#options = options;
    this.#header = HeaderArea.read(this.#file, { forCheck: true });
    refuseUnsupported(this.#header);
    this.#backing = 'chain' in options ? openBacking(this.#header, options.chain, options.locks) : options.layer;
    this.#load();
  }

  /** Takes the file over: it is closed when opening fails. */
  static open(file: ByteFile, options: SessionOptions): ImageSession {
    try {
      return new ImageSession(file, options);
    } catch (error) {
      file.close();
      throw error;
    }
  }

  get header(): HeaderArea {
    return this.#header;
  }

  get writable(): boolean {
    return this.#options.writable;
  }

  /** Whether the dirty bit on disk is set by us, for our own changes. */
  get ownsDirtyBit(): boolean {
    return this.#write?.order.ownsDirtyBit ?? false;
  }

  get parts(): ImageParts {
    const parts = this.#write ?? this.#read;
    if (parts !== undefined) return parts;
    throw this.#broken ?? new Fault('image-marked-corrupt', {});
  }

  /** Fault `range-not-satisfiable` unless the span lies inside the disk. */
  admitSpan(offset: number, length: number): void {
    const size = this.#header.virtualSize;
    if (offset + length > size) throw new Fault('range-not-satisfiable', { size });
  }

  /** One bounded change. Corruption met on the way ends all further changes (CHK-17). */
  change(work: (parts: WriteParts) => void): void {
    const parts = this.#changeable();
    try {
      parts.bitmaps.beforeChange();
      work(parts);
    } catch (error) {
      this.#judgeFailure(error);
      throw error;
    }
  }

  /** A change in steps; nothing is touched before the first step. */
  *changeInSteps<Result>(work: (parts: WriteParts) => Steps<Result>): Steps<Result> {
    const parts = this.#changeable();
    try {
      parts.bitmaps.beforeChange();
      return yield* work(parts);
    } catch (error) {
      this.#judgeFailure(error);
      throw error;
    } finally {
      this.#views.clear();
    }
  }

  flush(): void {
    this.#write?.order.flush();
  }

  /** Runs a check over the file, which holds everything then. */
  *checkWith(check: (file: ByteFile) => Steps<CheckReport>): Steps<CheckReport> {
    if (!this.#corrupt) this.#write?.order.settle();
    return yield* check(this.#file);
  }

  /** Repairs the file and loads it again. */
  *repairWith(mode: 'leaks' | 'all'): Steps<CheckReport> {
    if (!this.writable) throw new Fault('image-read-only', {});
    if (!this.#corrupt) this.#write?.order.settle();
    try {
      return yield* repair(this.#file, mode);
    } finally {
      this.#views.clear();
      this.#header = HeaderArea.read(this.#file, { forCheck: true });
      this.#load();
    }
  }

  /** By id first, then by name. Fault `snapshot-not-found`. */
  snapshot(name: string): SnapshotView {
    const parts = this.parts;
    const known = this.#views.get(name);
    if (known !== undefined) return known;
    const record = parts.snapshots.find(name);
    const view = {
      parts: { ...parts, mapping: snapshotTree(parts, record) },
      size: record.virtualSize ?? this.#header.virtualSize,
    };
    if (this.#views.size >= snapshotViewsMax) this.#views.clear();
    this.#views.set(name, view);
    return view;
  }

  close(): void {
    try {
      if (!this.#corrupt) this.#write?.order.settle();
    } finally {
      this.release();
    }
  }

  /** Closes the files and writes nothing more. */
  release(): void {
    this.#backing?.close();
    this.#file.close();
  }

  #load(): void {
    this.#read = undefined;
    this.#write = undefined;
    this.#broken = undefined;
    this.#corrupt = this.#header.isCorrupt;
    try {
      const header = HeaderArea.read(this.#file, { forCheck: false });
      this.#header = header;
      if (this.writable) this.#write = writeParts(this.#file, header, this.#backing);
      else this.#read = readParts(this.#file, header, this.#backing);
    } catch (error) {
      if (!(error instanceof Fault) || error.kind !== 'corrupt') throw error;
      this.#broken = error;
    }
  }

  #changeable(): WriteParts {
    if (!this.writable) throw new Fault('image-read-only', { reason: 'the image was opened for reading' });
    if (this.#broken !== undefined) throw this.#broken;
    if (this.#write === undefined || this.#corrupt) throw new Fault('image-marked-corrupt', {});
    return this.#write;
  }

  /** A write that met corruption must not go on: the corrupt bit keeps everybody from changing more (BIT-I1). */
  #judgeFailure(error: unknown): void {
    if (!(error instanceof Fault) || error.kind !== 'corrupt' || this.#corrupt) return;
    this.#corrupt = true;
    if (this.#header.header.version === 2) return;
    this.#header.setIncompatible('corrupt', true);
    this.#file.flush();
  }
}
