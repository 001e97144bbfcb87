// One image that is open on this thread: its file, its gate, its generation and its planned exports.

import { present } from '../base/assert.ts';
import { Fault } from '../base/fault.ts';
import type { Steps } from '../engine/image.ts';
import type { Engine, EngineImage, EngineOpenOptions } from './engine.ts';
import { ExportPlans } from './export-plans.ts';
import { Gate } from './gate.ts';
import type { GateEntry } from './gate.ts';
import { packKeys, unpackKeys } from './hand-over.ts';
import type { HandOver } from './hand-over.ts';
import type { ImageNumber, OwnKeys } from './messages.ts';
import type { OpenRequest, RuntimeOptions, VolumeKeys } from './protocol.ts';

/** What a thread keeps of an open image. `Entry` is what waits in its gate. */
export class OpenImage<Entry extends GateEntry = GateEntry> {
  readonly number: ImageNumber;
  readonly gate = new Gate<Entry>();
  readonly plans: ExportPlans;
  /** The flushes that are due; one answers them all. */
  readonly flushes: Entry[] = [];
  /** The fences to answer when the run under way has been undone. */
  readonly fences: number[] = [];
  readonly #engine: Engine;
  #file: EngineImage | undefined;
  #generation = 0;
  /** Of the VM states; undefined while one of them is being written, when each step may bring another one. */
  #vmStateGeneration: number | undefined;
  #epoch = 0;
  #runtime: RuntimeOptions | undefined;
  /** What the image is unlocked with for everybody, also when its file is opened again. */
  #keys: VolumeKeys = new Map();
  /** Of the file, once it was opened. */
  #path = '';
  /** What the pool was last told. */
  #told = { virtualSize: -1, generation: -1 };

  constructor(parts: { readonly number: ImageNumber; readonly engine: Engine; readonly exportPlansMax: number }) {
    this.number = parts.number;
    this.#engine = parts.engine;
    this.plans = new ExportPlans({ plansMax: parts.exportPlansMax });
  }

  /** The open file. While it is not open nothing gets through the gate. */
  get file(): EngineImage {
    return present(this.#file, 'the image is open');
  }

  get isOpen(): boolean {
    return this.#file !== undefined;
  }

  get generation(): number {
    return this.#generation;
  }

  /** Two readings of a VM state at one of these saw the same bytes. */
  get vmStateGeneration(): number {
    return this.#vmStateGeneration ?? this.#generation;
  }

  /** Does a run that writes a VM state. */
  *changingVmState(steps: Steps<void>): Steps<void> {
    this.#vmStateGeneration = undefined;
    try {
      yield* steps;
    } finally {
      this.#vmStateGeneration = this.#generation;
    }
  }

  /** Whoever was admitted in an epoch before this one changes nothing any more. */
  get epoch(): number {
    return this.#epoch;
  }

  beginEpoch(epoch: number): void {
    this.#epoch = Math.max(this.#epoch, epoch);
  }

  /** What the image itself is unlocked with for everybody. */
  get key(): Uint8Array | undefined {
    return this.#keys.get(this.#path);
  }

  /** Unlocks the image with these keys, which are its own from now on; it is locked where there is none. */
  useKeys(keys: VolumeKeys): void {
    wipeKeys(this.#keys);
    this.#keys = keys;
    this.#unlock(keys);
  }

  /** The image stands on other files now, which are unlocked with copies of these keys. */
  addKeys(keys: VolumeKeys): void {
    this.#keys = new Map([...Array.from(keys, ([path, key]) => [path, Uint8Array.from(key)] as const), ...this.#keys]);
    this.#unlock(this.#keys);
  }

  /** One bounded piece of work with the keys of whoever asked for it: nobody else gets at the guest data through them. */
  withKeys<Result>(keys: OwnKeys, work: () => Result): Result {
    if (keys === undefined || this.#file === undefined) return work();
    this.#unlock(new Map([...this.#keys, ...keys]));
    try {
      return work();
    } finally {
      this.#unlock(this.#keys);
    }
  }

  /** Whether there was a flush of this id; it is not due any more. */
  takeFlush(id: number): boolean {
    const index = this.flushes.findIndex((entry) => entry.id === id);
    if (index >= 0) this.flushes.splice(index, 1);
    return index >= 0;
  }

  /** The guest data has changed, or may have. */
  raise(): void {
    this.#generation += 1;
  }

  /** Nothing has changed since it was raised, and nobody has seen that it was. */
  takeBack(): void {
    this.#generation -= 1;
  }

  /** Opens the file, first or again; a dirty one is recovered when it is opened for writing. */
  *open(request: OpenRequest, handOver?: HandOver): Steps<void> {
    this.#generation = Math.max(this.#generation, request.generation);
    const before = this.#file?.writable;
    if (handOver !== undefined) {
      yield* this.#takeOver(request, handOver);
    } else if (before === undefined) {
      yield* this.#openFile(optionsOf(request));
    } else if (request.writable && !before) {
      yield* this.#openAgain(optionsOf(request));
    }
  }

  /** All options anew, for as long as this thread has the image; no byte that anybody reads is another one. */
  setRuntime(options: RuntimeOptions): void {
    this.plans.forgetFiles();
    this.file.setRuntime(options);
    this.#runtime = options;
  }

  /**
   * Stores everything and closes the file, for another thread to go on. What cannot be stored stays open, unless the disk has
   * failed: then nobody knows what is there, and the file is let go of as it is.
   */
  // oxlint-disable-next-line require-yield
  *leave(): Steps<HandOver> {
    try {
      this.file.settle();
    } catch (error) {
      if (error instanceof Fault && error.code === 'io-error') this.abandon();
      throw error;
    }
    const handOver = {
      generation: this.#generation,
      vmStateGeneration: this.vmStateGeneration,
      epoch: this.#epoch,
      runtime: this.#runtime,
      ...packKeys(this.#keys),
    };
    this.close();
    return handOver;
  }

  /** Flushes and closes the file; when that faults the file is let go of all the same. */
  close(): void {
    const { file } = this;
    this.#file = undefined;
    file.close();
  }

  /** Lets go of the file for good. */
  drop(): void {
    this.abandon();
    this.forget();
  }

  /** Forgets the keys: the image does not come back. */
  forget(): void {
    wipeKeys(this.#keys);
    this.#keys = new Map();
  }

  /** Lets go of the file as it is. */
  abandon(): void {
    this.#file?.abandon();
    this.#file = undefined;
  }

  /** What the pool has not been told yet of what it always knows of an image. */
  takeNews(): { readonly virtualSize: number; readonly generation: number } | undefined {
    if (this.#file === undefined) return undefined;
    const now = { virtualSize: this.#file.virtualSize, generation: this.#generation };
    if (now.virtualSize === this.#told.virtualSize && now.generation === this.#told.generation) return undefined;
    this.#told = now;
    return now;
  }

  *#takeOver(request: OpenRequest, handOver: HandOver): Steps<void> {
    const { generation, vmStateGeneration, epoch, runtime } = handOver;
    this.#generation = Math.max(this.#generation, generation);
    this.beginEpoch(epoch);
    this.#keys = unpackKeys(handOver);
    yield* this.#openFile({ ...optionsOf(request), runtime, shares: true });
    this.#vmStateGeneration = vmStateGeneration;
  }

  *#openFile(options: EngineOpenOptions): Steps<void> {
    const file = this.#openWith(options);
    this.#vmStateGeneration = this.#generation;
    if (!file.needsRecovery) return;
    let recovered = false;
    try {
      yield* file.recover();
      recovered = true;
    } finally {
      this.raise();
      if (!recovered) this.abandon();
    }
  }

  /** Readers keep what they have when the file cannot be opened for writing. */
  *#openAgain(options: EngineOpenOptions): Steps<void> {
    this.plans.forgetFiles();
    let writable = false;
    try {
      this.close();
      yield* this.#openFile(options);
      writable = true;
    } finally {
      if (!writable && this.#file === undefined) this.#openWith({ ...options, writable: false });
    }
  }

  #openWith(options: EngineOpenOptions): EngineImage {
    const file = this.#engine.open(options);
    this.#file = file;
    this.#path = options.path;
    this.#runtime = options.runtime;
    this.#unlock(this.#keys);
    return file;
  }

  #unlock(keys: VolumeKeys): void {
    const file = this.#file;
    if (file === undefined) return;
    const own = keys.get(this.#path);
    if (own === undefined) file.lock();
    else file.unlock(own);
    file.unlockBelow(keys);
  }
}

export function wipeKeys(keys: OwnKeys): void {
  for (const key of keys?.values() ?? []) key.fill(0);
}

function optionsOf(request: OpenRequest): EngineOpenOptions {
  const { path, writable, backing, dataFile, runtime } = request;
  return { path, writable, backing, dataFile, runtime };
}
