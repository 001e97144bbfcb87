// One open image from open to close: its parts, whether they may be changed, and what became of them.

import { Fault } from '../../base/fault.ts';
import type { ByteFile } from '../file/byte-file.ts';
import type { SnapshotRecord } from '../format/snapshot-table.ts';
import type { ImageParts, ReadParts, WriteParts } from '../image-parts.ts';
import { layersBelow } from '../layer/below.ts';
import { HeaderArea } from '../metadata/header-area.ts';
import type { ClusterRun } from '../metadata/refcount-tables.ts';
import { amend, giveBack } from './amend.ts';
import type { AmendWish } from './amend-rules.ts';
import { relieveBitmaps, settleWithBitmaps } from './bitmap-store.ts';
import type { CheckReport } from './check-report.ts';
import { empty } from './empty.ts';
import type { VolumeKeys } from './chain-keys.ts';
import { readParts, snapshotTree, writeParts } from './open.ts';
import { rebase, sharedLayers } from './rebase.ts';
import type { RebaseWish } from './rebase.ts';
import { repair } from './repair.ts';
import { fittingRuntime, judgeRuntime } from './runtime-options.ts';
import type { RuntimeOptions } from './runtime-options.ts';
import { SessionFiles } from './session-files.ts';
import type { OpenChain, SessionOptions } from './session-files.ts';
import { refuseDataFile } from './snapshot-switch.ts';
import { toTheEnd } from './steps.ts';
import type { Steps } from './steps.ts';
import { useVolumeKey } from './unlock.ts';

/** A snapshot's tree to read from, and the size of its disk. */
export interface SnapshotView {
  readonly parts: ReadParts;
  readonly size: number;
  readonly record: SnapshotRecord;
}

/** L1 tables of snapshots that are kept for the next read. */
const snapshotViewsMax = 8;

/**
 * Reading parts are always there, unless the image is so broken that only a check can open it; then every other verb
 * faults with what is wrong.
 */
export class ImageSession {
  readonly writable: boolean;
  readonly files: SessionFiles;
  #header: HeaderArea;
  #runtime: RuntimeOptions | undefined;
  #read: ImageParts | undefined;
  #write: WriteParts | undefined;
  /** Why there are no parts. */
  #broken: Fault | undefined;
  /** The disk failed while tables were read anew: whoever needs them tries again. */
  #isUnread = false;
  /** The header says so, or {@link ImageSession.#judged} did. */
  #corrupt = false;
  /** Our own copy, wiped when the image is locked or released. */
  #volumeKey: Uint8Array | undefined;
  /** The header said so when it was read, so nothing was changed since. */
  #openedCorrupt = false;
  /** By place in the table, which only a change in steps or a repair moves: both forget what is kept here. */
  readonly #views = new Map<number, SnapshotView>();

  private constructor(
    files: SessionFiles,
    options: {
      readonly header: HeaderArea;
      readonly writable: boolean;
      readonly runtime: RuntimeOptions | undefined;
    },
  ) {
    this.writable = options.writable;
    this.files = files;
    this.#header = options.header;
    this.#runtime = options.runtime;
    this.#load();
  }

  /** Takes the files and the layer over: they are closed when opening fails. */
  static open(file: ByteFile, options: SessionOptions): ImageSession {
    const { files, header } = SessionFiles.open(file, options);
    try {
      const runtime = 'chain' in options ? options.runtime : undefined;
      return new ImageSession(files, { header, writable: options.writable, runtime });
    } catch (error) {
      files.close();
      throw error;
    }
  }

  get header(): HeaderArea {
    return this.#header;
  }

  /** Whether the dirty bit on disk is set by us, for our own changes. */
  get ownsDirtyBit(): boolean {
    return this.#write?.order.ownsDirtyBit ?? false;
  }

  get parts(): ImageParts {
    if (this.#isUnread) this.#reload();
    const parts = this.#write ?? this.#read;
    if (parts !== undefined) return parts;
    throw this.#broken ?? new Fault('image-marked-corrupt', {});
  }

  /** Fault `range-not-satisfiable` unless the span lies inside the disk. */
  admitSpan(offset: number, length: number): void {
    const size = this.#header.virtualSize;
    if (offset + length > size) throw new Fault('range-not-satisfiable', { size });
  }

  /** Fault `passphrase-required` while guest data is encrypted and its key is not there; `chain`: of any layer below, too. */
  admitKeys(of: 'image' | 'chain'): void {
    const { encryption } = this.parts;
    if (encryption !== undefined && !encryption.isUnlocked) throw new Fault('passphrase-required', {});
    if (of === 'chain') this.files.chain.keys.admit();
  }

  /** Puts the volume key to use, until {@link lock}, also over a repair. */
  unlock(volumeKey: Uint8Array): void {
    this.#wipeKey();
    this.#volumeKey = Uint8Array.from(volumeKey);
    this.#useKey();
  }

  /** Forgets the volume key. */
  lock(): void {
    (this.#write ?? this.#read)?.encryption?.lock();
    this.#wipeKey();
  }

  /** Gives the layers below their keys; one without a key is locked. */
  unlockBelow(volumeKeys: VolumeKeys): void {
    this.files.useKeys(volumeKeys);
  }

  /** One bounded look at the live disk. Corruption met on the way ends all changes, as with QEMU (CHK-17). */
  look<Found>(work: (parts: ImageParts) => Found): Found {
    const { parts } = this;
    try {
      return work(parts);
    } catch (error) {
      throw this.#judged(error);
    }
  }

  /** One bounded change. Corruption met on the way ends all further changes (CHK-17). */
  change(work: (parts: WriteParts) => void): void {
    this.changeBitmaps((parts) => {
      parts.bitmaps.beforeChange();
      relieveBitmaps(parts);
      work(parts);
    });
  }

  /** A change in steps; nothing is touched before the first step. */
  *changeInSteps<Result>(work: (parts: WriteParts) => Steps<Result>): Steps<Result> {
    try {
      return yield* this.changeBitmapsInSteps((parts) => {
        parts.bitmaps.beforeChange();
        relieveBitmaps(parts);
        return work(parts);
      });
    } finally {
      this.#views.clear();
      this.files.caches.fit();
    }
  }

  /** Fault `image-marked-corrupt` once corruption was met: what was changed since the last flush may be lost. */
  flush(): void {
    if (this.#write === undefined) return;
    if (this.#corrupt && !this.#openedCorrupt) throw new Fault('image-marked-corrupt', {});
    try {
      this.#write.order.flush();
    } catch (error) {
      throw this.#judged(error);
    }
  }

  /** One bounded change of the bitmaps, after which none is in use in the file: no change of the disk. */
  changeBitmaps<Result>(work: (parts: WriteParts) => Result): Result {
    const parts = this.#changeable();
    try {
      return work(parts);
    } catch (error) {
      throw this.#judged(error);
    }
  }

  /** As {@link changeBitmaps}, in steps. */
  *changeBitmapsInSteps<Result>(work: (parts: WriteParts) => Steps<Result>): Steps<Result> {
    const parts = this.#changeable();
    try {
      return yield* work(parts);
    } catch (error) {
      throw this.#judged(error);
    }
  }

  /**
   * A change of the file's shape and no byte of the disk: the image is opened anew when the header says so, and what
   * `work` returns is given back then, whoever wants it to stop.
   */
  *amend(wish: AmendWish): Steps<void> {
    const parts = this.#changeable();
    this.storeAll();
    let before: readonly ClusterRun[];
    try {
      before = yield* this.changeBitmapsInSteps((all) => amend(all, wish));
    } finally {
      const { version, refcountOrder } = this.#header.header;
      if (version !== parts.version || refcountOrder !== parts.geometry.refcountOrder) this.#reload();
    }
    yield* toTheEnd(this.changeBitmapsInSteps((all) => giveBack(all, before)));
  }

  /** Runs a check over the file, which holds everything then. */
  *checkWith(check: (file: ByteFile) => Steps<CheckReport>): Steps<CheckReport> {
    this.storeAll();
    return yield* check(this.files.file);
  }

  /** Repairs the file and loads it again. */
  *repairWith(mode: 'leaks' | 'all'): Steps<CheckReport> {
    if (!this.writable) throw new Fault('image-read-only', {});
    this.storeAll();
    try {
      return yield* repair(this.files.file, mode);
    } finally {
      this.#reload();
    }
  }

  /** Drops all guest data of the image itself. */
  emptyInSteps(): Steps<void> {
    return this.changeInSteps((parts) =>
      empty(parts, () => {
        this.#reload();
        return this.#changeable();
      }),
    );
  }

  /** Puts the image on another chain; the layers of the old one are closed then. */
  *rebaseInSteps(wish: RebaseWish): Steps<void> {
    this.#changeable();
    const before = this.files.chain;
    const chain = this.files.openChain(wish.chain);
    try {
      if (wish.mode === 'safe' && chain.keys.areMissing) throw new Fault('passphrase-required', { other: true });
      const shared = sharedLayers(before.files, chain.files);
      const change = { backing: chain.files[0], layer: chain.layer, mode: wish.mode, shared };
      yield* this.changeInSteps((parts) => rebase(parts, { ...change, switched: () => this.standOn(chain) }));
    } finally {
      this.files.closeChain(this.files.chain === chain ? before : chain);
    }
  }

  /** Over caches that are empty then. Faults `unsupported-option` and those of the file leave the options of before. */
  setRuntime(runtime: RuntimeOptions): void {
    judgeRuntime(runtime, this.parts);
    if (this.writable) this.#changeable();
    this.storeAll();
    this.#views.clear();
    const before = this.#runtime;
    this.#runtime = runtime;
    try {
      this.#reload();
    } catch (error) {
      this.#runtime = before;
      throw error;
    }
  }

  /** By id first, then by name. Faults `snapshot-not-found`, `unsupported-option` (DAT-01). */
  snapshot(name: string): SnapshotView {
    const parts = this.parts;
    const index = parts.snapshots.indexOf(name);
    if (index === undefined) throw new Fault('snapshot-not-found', { snapshot: name });
    refuseDataFile(parts);
    const known = this.#views.get(index);
    if (known !== undefined) return known;
    const record = parts.snapshots.at(index);
    const view = {
      parts: { ...parts, mapping: snapshotTree(parts, record) },
      size: record.virtualSize ?? this.#header.virtualSize,
      record,
    };
    if (this.#views.size >= snapshotViewsMax) this.#views.clear();
    this.#views.set(index, view);
    return view;
  }

  close(): void {
    try {
      this.storeAll();
    } catch (error) {
      throw this.#judged(error);
    } finally {
      this.release();
    }
  }

  /** Closes the files and writes nothing more. */
  release(): void {
    this.lock();
    this.files.caches.leave();
    this.files.close();
  }

  /** The file holds everything, bitmaps too; those that cannot be stored stay marked as in use. */
  storeAll(): void {
    if (this.#corrupt || this.#write === undefined) return;
    settleWithBitmaps(this.#write);
  }

  /** The image is read over another chain from now on; the old one is the caller's to close. */
  standOn(chain: OpenChain): void {
    this.files.standOn(chain);
    // Whatever fails from here on, nobody reads through the old one.
    this.#isUnread = true;
    this.storeAll();
    this.#reload();
  }

  /** The file is another one now, by its tables. */
  #reload(): void {
    this.#views.clear();
    this.#header = HeaderArea.read(this.files.file, { forCheck: true });
    this.#load();
  }

  #load(): void {
    this.files.caches.leave();
    this.#read = undefined;
    this.#write = undefined;
    this.#broken = undefined;
    this.#isUnread = true;
    this.#corrupt = this.#header.isCorrupt;
    this.#openedCorrupt = this.#corrupt;
    try {
      const header = HeaderArea.read(this.files.file, { forCheck: false });
      this.#header = header;
      const runtime = fittingRuntime(this.#runtime, { geometry: header.geometry, version: header.header.version });
      const beside = { ...this.files.beside, runtime };
      if (this.writable) this.#write = writeParts(this.files.file, header, beside);
      else this.#read = readParts(this.files.file, header, beside);
      const parts = this.#write ?? this.#read;
      if (parts !== undefined) this.files.caches.use(parts, runtime);
      this.#useKey();
    } catch (error) {
      if (!(error instanceof Fault) || error.kind !== 'corrupt') throw error;
      this.#broken = error;
    }
    this.#isUnread = false;
  }

  /** An image that is too broken to have parts gets its key when it is mended. */
  #useKey(): void {
    const parts = this.#write ?? this.#read;
    if (parts !== undefined && this.#volumeKey !== undefined) useVolumeKey(parts, this.#volumeKey);
  }

  #wipeKey(): void {
    this.#volumeKey?.fill(0);
    this.#volumeKey = undefined;
  }

  #changeable(): WriteParts {
    if (!this.writable) throw new Fault('image-read-only', { reason: 'the image was opened for reading' });
    if (this.#isUnread) this.#reload();
    if (this.#broken !== undefined) throw this.#broken;
    if (this.#write === undefined || this.#corrupt) throw new Fault('image-marked-corrupt', {});
    return this.#write;
  }

  /**
   * Who met corruption must not change anything more: the corrupt bit keeps everybody from it (BIT-I1). A blob that cannot
   * be unpacked spoils its own bytes only, and what is wrong below is not this file's: QEMU, too, fails those alone.
   */
  #judged(error: unknown): unknown {
    if (!(error instanceof Fault) || error.kind !== 'corrupt' || this.#corrupt || !this.writable) return error;
    if (error.code === 'compressed-data-invalid' || layersBelow(error) > 0) return error;
    this.#corrupt = true;
    if (this.#header.header.version === 2) return error;
    this.#header.setIncompatible('corrupt', true);
    this.files.file.flush();
    return error;
  }
}
