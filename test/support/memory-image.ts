// A small engine of the pool's tests: guest bytes in memory, kept in a file of their own form between two openings.

import { appendFileSync, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { deserialize, serialize } from 'node:v8';

import { assert } from '../../src/base/assert.ts';
import { Fault } from '../../src/base/fault.ts';
import type {
  CheckReport,
  ExtentPage,
  ExtentQuery,
  ImageDescription,
  MeasuredSize,
  FoundSnapshot,
  SnapshotDescription,
  Steps,
  VirtualFile,
} from '../../src/engine/image.ts';
import type { Engine, EngineImage, EngineOpenOptions } from '../../src/pool/engine.ts';
import { AbsentVerbs } from './absent-verbs.ts';
import { cleanReport, inspection, stepLength } from './memory-image-spec.ts';

/** How many steps a recovery takes. */
export const recoverySteps = 3;

/**
 * Names of snapshots that nobody can take: what happens instead is what the pool has to survive. `close` lets the
 * snapshot be taken, and fails the closing of the image later.
 */
export const traps = {
  bug: 'trap-bug',
  exit: 'trap-exit',
  throwLater: 'trap-throw-later',
  close: 'trap-close',
  stall: 'trap-stall',
};

interface Snapshot {
  readonly id: string;
  readonly name: string;
  readonly bytes: Uint8Array;
}

interface Content {
  bytes: Uint8Array;
  snapshots: Snapshot[];
  dirty: boolean;
}

export const memoryEngine: Engine = {
  open: (options) => new MemoryImage(options),
  guard: () => ({ close: () => undefined }),
  tidyCaches: () => ({ length: 0, hits: 0, misses: 0 }),
  *create(path, spec): Steps<void> {
    let done = false;
    try {
      writeFileSync(path, '', { flag: 'wx' });
      for (let at = 0; at < spec.virtualSize; at += stepLength) yield { done: at, total: spec.virtualSize };
      store(path, { bytes: new Uint8Array(spec.virtualSize), snapshots: [], dirty: false });
      done = true;
    } finally {
      if (!done) rmSync(path);
    }
  },
  judgeHead(head) {
    if (head[0] !== 0xff) throw new Fault('unsafe-image', { violations: ['no image of this engine'] });
  },
  measure: (_spec, virtualSize) => measured(virtualSize),
  *admit(options) {
    yield { done: 0, total: 1 };
    const image = new MemoryImage({ path: options.path, writable: false, backing: [] });
    if (image.virtualSize % 512 !== 0) throw new Fault('unsafe-image', { violations: ['odd size'] });
    const admitted = { description: image.describe(), report: cleanReport };
    image.close();
    return admitted;
  },
};

/** What was done to the file at `path`, one word a line, in order. */
export function journalOf(path: string): readonly string[] {
  const journal = `${path}.journal`;
  return existsSync(journal) ? readFileSync(journal, 'utf8').trim().split('\n') : [];
}

/** Leaves the file at `path` as a crash would. */
export function markDirty(path: string): void {
  store(path, { ...load(path), dirty: true });
}

class MemoryImage extends AbsentVerbs implements EngineImage {
  readonly writable: boolean;
  readonly needsRecovery: boolean;
  readonly #path: string;
  readonly #content: Content;
  #open = true;

  constructor(options: EngineOpenOptions) {
    super();
    this.#path = options.path;
    this.writable = options.writable;
    this.#content = load(options.path);
    this.needsRecovery = options.writable && this.#content.dirty;
    this.#note(options.writable ? 'open-writable' : 'open');
  }

  get virtualSize(): number {
    return this.#content.bytes.length;
  }

  *recover(): Steps<CheckReport> {
    for (let step = 0; step < recoverySteps; step += 1) {
      this.#note('recover');
      yield { done: step, total: recoverySteps };
    }
    this.#content.dirty = false;
    return cleanReport;
  }

  read(offset: number, target: Uint8Array): void {
    this.#use();
    target.set(this.#content.bytes.subarray(offset, offset + target.length));
  }

  write(offset: number, source: Uint8Array): void {
    this.#change();
    this.#note('write');
    this.#content.bytes.set(source, offset);
  }

  *writeCompressed(offset: number, source: Uint8Array): Steps<void> {
    yield { done: 0, total: source.length };
    this.write(offset, source);
  }

  *zero(offset: number, length: number): Steps<void> {
    this.#change();
    const end = offset + length;
    for (let at = offset; at < end; at += stepLength) {
      this.#content.bytes.fill(0, at, Math.min(at + stepLength, end));
      if (at + stepLength < end) yield { done: at - offset, total: length };
    }
  }

  discard(offset: number, length: number): Steps<void> {
    return this.zero(offset, length);
  }

  flush(): void {
    this.#use();
    this.#note('flush');
    if (this.writable) store(this.#path, this.#content);
  }

  extents(query: ExtentQuery): ExtentPage {
    this.#use();
    return extentsOf(this.#content.bytes, query);
  }

  describe(): ImageDescription {
    this.#use();
    return {
      virtualSize: this.virtualSize,
      fileSize: this.virtualSize,
      allocatedSize: this.virtualSize,
      clusterSize: stepLength,
      compat: '1.1',
      compressionType: 'zlib',
      refcountBits: 16,
      lazyRefcounts: false,
      extendedL2: false,
      dirty: this.#content.dirty,
      corrupt: false,
      snapshotCount: this.#content.snapshots.length,
      snapshotIdMax: Math.max(0, ...this.#content.snapshots.map(({ id }) => Number(id))),
      bitmapCount: 0,
    };
  }

  readonly inspect = inspection;
  readonly settle = (): void => this.flush();

  *resize(options: { virtualSize: number; allowShrink: boolean }): Steps<void> {
    this.#change();
    if (options.virtualSize < this.virtualSize && !options.allowShrink) throw new Fault('shrink-not-allowed', {});
    yield { done: 0, total: 1 };
    const bytes = new Uint8Array(options.virtualSize);
    bytes.set(this.#content.bytes.subarray(0, options.virtualSize));
    this.#content.bytes = bytes;
  }

  *amend(): Steps<void> {
    this.#change();
    yield { done: 0, total: 1 };
  }

  *check(): Steps<CheckReport> {
    this.#use();
    for (let at = 0; at < this.virtualSize; at += stepLength) yield { done: at, total: this.virtualSize };
    return cleanReport;
  }

  *repair(): Steps<CheckReport> {
    this.#change();
    for (let at = 0; at < this.virtualSize; at += stepLength) yield { done: at, total: this.virtualSize };
    return cleanReport;
  }

  snapshots(page: { from: number; limit: number }): readonly SnapshotDescription[] {
    return this.#content.snapshots.slice(page.from, page.from + page.limit).map(describeSnapshot);
  }

  findSnapshot(snapshot: string): FoundSnapshot | undefined {
    const { snapshots } = this.#content;
    const index = snapshots.findIndex(({ id }) => id === snapshot);
    const named = index === -1 ? snapshots.findIndex(({ name }) => name === snapshot) : index;
    const found = snapshots[named];
    return found === undefined ? undefined : { index: named, snapshot: describeSnapshot(found) };
  }

  readSnapshot(snapshot: string, offset: number, target: Uint8Array): void {
    this.#use();
    target.set(this.#find(snapshot).bytes.subarray(offset, offset + target.length));
  }

  snapshotExtents(snapshot: string, query: ExtentQuery): ExtentPage {
    return extentsOf(this.#find(snapshot).bytes, query);
  }

  *createSnapshot(options: { name: string; idFloor: number }): Steps<SnapshotDescription> {
    this.#change();
    assert(options.name !== traps.bug, 'nobody steps into the trap');
    if (options.name === traps.exit) process.exit(1);
    if (options.name === traps.throwLater) throwLater();
    if (options.name === traps.stall) {
      this.#note('stall');
      standStill(this.#path);
    }
    let done = false;
    const { snapshots } = this.#content;
    const id = Math.max(options.idFloor, ...snapshots.map((snapshot) => Number(snapshot.id) + 1));
    const snapshot = { id: String(id), name: options.name, bytes: this.#content.bytes.slice() };
    try {
      snapshots.push(snapshot);
      for (let at = 0; at < this.virtualSize; at += stepLength) yield { done: at, total: this.virtualSize };
      done = true;
      return describeSnapshot(snapshot);
    } finally {
      if (!done) yield* this.#undoSnapshot(snapshot);
    }
  }

  *deleteSnapshot(snapshot: string): Steps<void> {
    this.#change();
    const found = this.#find(snapshot);
    this.#content.snapshots = this.#content.snapshots.filter((other) => other !== found);
    yield { done: 0, total: 1 };
  }

  *revertSnapshot(snapshot: string): Steps<void> {
    this.#change();
    const { bytes } = this.#find(snapshot);
    yield { done: 0, total: 1 };
    this.#content.bytes = bytes.slice();
  }

  readonly readVmState = noVmState;
  readonly writeVmState = noVmState;

  *compact(): Steps<{ reclaimedBytes: number }> {
    yield { done: 0, total: 1 };
    return { reclaimedBytes: 0 };
  }

  *copyTo(): Steps<ImageDescription> {
    yield { done: 0, total: 1 };
    return this.describe();
  }

  *measure(): Steps<MeasuredSize> {
    yield { done: 0, total: 1 };
    return measured(this.virtualSize);
  }

  *planExport(options: { snapshot: string | undefined }): Steps<VirtualFile> {
    this.#use();
    yield { done: 0, total: 1 };
    const bytes = options.snapshot === undefined ? this.#content.bytes : this.#find(options.snapshot).bytes;
    return {
      length: bytes.length,
      read: (offset, target) => {
        this.#use();
        target.set(bytes.subarray(offset, offset + target.length));
      },
    };
  }

  close(): void {
    this.#use();
    this.#open = false;
    if (this.#content.snapshots.some(({ name }) => name === traps.close)) {
      this.#note('failed-close');
      throw new Fault('io-error', { call: 'close' });
    }
    if (this.writable) store(this.#path, this.#content);
    this.#note('close');
  }

  abandon(): void {
    this.#use();
    this.#open = false;
    this.#note('abandon');
  }

  *#undoSnapshot(snapshot: Snapshot): Steps<void> {
    yield { done: 1, total: 2 };
    this.#content.snapshots = this.#content.snapshots.filter((other) => other !== snapshot);
    this.#note('undone');
  }

  #find(snapshot: string): Snapshot {
    const { snapshots } = this.#content;
    const found = snapshots.find(({ id }) => id === snapshot) ?? snapshots.find(({ name }) => name === snapshot);
    if (found === undefined) throw new Fault('snapshot-not-found', { snapshot });
    return found;
  }

  #use(): void {
    assert(this.#open, 'an open image is used');
  }

  #change(): void {
    this.#use();
    if (!this.writable) throw new Fault('image-read-only', {});
  }

  #note(word: string): void {
    appendFileSync(`${this.#path}.journal`, `${word}\n`);
  }
}

function noVmState(): never {
  throw new Fault('snapshot-not-found', {});
}

const measured = (size: number): MeasuredSize => ({ required: 0, fullyAllocated: stepLength + size });

/** The thread of the image at `path` goes on after it was stalled. */
export function goOn(path: string): void {
  writeFileSync(`${path}.go`, '');
}

/** Nothing on this thread goes on until {@link goOn}. */
function standStill(path: string): void {
  const nobodyWakes = new Int32Array(new SharedArrayBuffer(4));
  while (!existsSync(`${path}.go`)) Atomics.wait(nobodyWakes, 0, 0, 10);
}

function load(path: string): Content {
  if (!existsSync(path)) throw new Fault('io-error', { call: 'open', error: 'ENOENT' });
  return deserialize(readFileSync(path)) as Content;
}

function store(path: string, content: Content): void {
  writeFileSync(path, serialize(content));
}

function throwLater(): void {
  setImmediate(() => {
    throw new Error('thrown where nobody waits');
  });
}

function describeSnapshot(snapshot: Snapshot): SnapshotDescription {
  return {
    id: snapshot.id,
    name: snapshot.name,
    virtualSize: snapshot.bytes.length,
    vmStateSize: 0,
    createdAtSeconds: 0,
    createdAtNanoseconds: 0,
    vmClockNanoseconds: '0',
  };
}

/** One extent, whatever it holds. */
function extentsOf(bytes: Uint8Array, query: ExtentQuery): ExtentPage {
  const length = Math.min(query.length, bytes.length - query.offset);
  return {
    items: [{ offset: query.offset, length, kind: 'data', depth: 0, compressed: false }],
    nextOffset: undefined,
  };
}
