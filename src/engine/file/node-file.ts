// A real file: whole reads and writes over short ones, holes and reservation where the file system can.

import {
  closeSync,
  constants,
  fdatasyncSync,
  fstatSync,
  ftruncateSync,
  openSync,
  readSync,
  statSync,
  statfsSync,
  writeSync,
} from 'node:fs';

import { assert, present } from '../../base/assert.ts';
import type { ByteSpan } from '../../base/byte-span.ts';
import { endOf } from '../../base/byte-span.ts';
import { Fault } from '../../base/fault.ts';
import { GiB, KiB, MiB } from '../../base/units.ts';
import type { SystemCalls } from '../../system/system-calls.ts';
import { loadSystemCalls } from '../../system/system-calls.ts';
import type { HostOffset } from '../format/offsets.ts';
import { hostOffset } from '../format/offsets.ts';
import type { ByteFile } from './byte-file.ts';
import { faultOfThrown, fileFault, lostWrites } from './file-faults.ts';
import { lockFile, shareLocks } from './file-lock.ts';

/** What a file system may turn out not to do; asked once per open file, then never again. */
type Ability = 'punch' | 'reserve' | 'seek' | 'writeBack' | 'copy';

export type FileLocks = 'qemu' | 'none';

export interface NodeFileOptions {
  readonly writable: boolean;
  /**
   * `qemu`: QEMU's byte locks are taken, so that no other program changes the file meanwhile (see {@link lockFile}).
   * `qemu-data`: those that QEMU takes on the external data file of an image.
   * `none`: nobody is kept out; for files that nobody else knows yet, and file systems without such locks.
   */
  readonly locks: FileLocks | 'qemu-data';
  /** Whether another opener here has kept everybody else out so far, and still does; see {@link shareLocks}. */
  readonly shares?: boolean | undefined;
  /** Whether bytes of other files are copied by the kernel where it can; left out for no. See {@link ByteFile.copyBlock}. */
  readonly hostCopies?: boolean | undefined;
}

/**
 * A regular file, opened by this thread and used by nobody else while it is open for writing.
 *
 * After a failed flush the kernel may have dropped writes that it had accepted, so the file takes no more changes:
 * they fault `image-read-only`. Reads go on.
 */
export class NodeFile implements ByteFile {
  readonly #path: string;
  readonly #writable: boolean;
  readonly #calls: SystemCalls | undefined;
  /** Copies are missing until somebody wants them. */
  readonly #missing = new Set<Ability>(['copy']);
  #descriptor: number | undefined;
  #size: number;
  #writesLost = false;
  #writeBackUnderWay: ByteSpan | undefined;

  private constructor(file: {
    readonly path: string;
    readonly writable: boolean;
    readonly descriptor: number;
    readonly size: number;
    readonly calls: SystemCalls | undefined;
  }) {
    this.#path = file.path;
    this.#writable = file.writable;
    this.#descriptor = file.descriptor;
    this.#size = file.size;
    this.#calls = file.calls;
  }

  /**
   * Opens a file that is there. Faults `io-error`, also for a symbolic link and for anything but a regular file, and
   * `image-in-use`.
   */
  static open(path: string, options: NodeFileOptions): NodeFile {
    const file = NodeFile.#open(path, options.writable ? constants.O_RDWR : constants.O_RDONLY, linuxCalls);
    const { locks, shares = false, hostCopies = false } = options;
    if (hostCopies) file.#missing.delete('copy');
    if (locks === 'none') return file;
    try {
      file.#lock(locks, shares);
      return file;
    } catch (error) {
      file.close();
      throw error;
    }
  }

  /** Makes an empty file, open for writing; a name that is taken is the fault `io-error` with `EEXIST`. */
  static create(path: string): NodeFile {
    return NodeFile.#open(path, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL, linuxCalls);
  }

  /** {@link open} as on a machine that has none of the Linux calls. */
  static openPortably(path: string, options: Pick<NodeFileOptions, 'writable'>): NodeFile {
    return NodeFile.#open(path, options.writable ? constants.O_RDWR : constants.O_RDONLY, undefined);
  }

  static #open(path: string, flags: number, calls: SystemCalls | undefined): NodeFile {
    const descriptor = attemptOpen(path, flags);
    const stat = fstatSync(descriptor);
    if (!stat.isFile()) {
      closeSync(descriptor);
      throw new Fault('io-error', { operation: 'open', path, reason: 'not a regular file' });
    }
    const writable = (flags & constants.O_RDWR) !== 0;
    return new NodeFile({ path, writable, descriptor, size: stat.size, calls });
  }

  get size(): number {
    return this.#size;
  }

  get allocatedSize(): number {
    return this.#attempt('stat', () => fstatSync(this.#openDescriptor).blocks * statBlockSize);
  }

  readAt(offset: HostOffset, target: Uint8Array): void {
    const descriptor = this.#openDescriptor;
    let done = 0;
    while (done < target.length) {
      const count = this.#attempt(
        'read',
        () => readSync(descriptor, target, done, target.length - done, offset + done),
        { offset, length: target.length },
      );
      if (count === 0) break;
      done += count;
    }
    target.fill(0, done);
  }

  writeAt(offset: HostOffset, source: Uint8Array): void {
    this.#assertChangeable();
    const descriptor = this.#openDescriptor;
    let done = 0;
    while (done < source.length) {
      const count = this.#attempt(
        'write',
        () => writeSync(descriptor, source, done, source.length - done, offset + done),
        { offset, length: source.length },
      );
      if (count === 0) throw fileFault('EIO', { operation: 'write', path: this.#path, offset, length: source.length });
      done += count;
      this.#size = Math.max(this.#size, offset + done);
    }
  }

  get descriptor(): number {
    return this.#openDescriptor;
  }

  get copyBlock(): number | undefined {
    return this.#calls === undefined || this.#missing.has('copy') ? undefined : copyBlockLength;
  }

  copyFrom(offset: HostOffset, source: ByteFile, span: ByteSpan): number {
    this.#assertChangeable();
    const from = source.descriptor;
    let done = 0;
    while (from !== undefined && done < span.length) {
      const rest = { offset: offset + done, length: span.length - done };
      const place = { descriptor: from, offset: span.offset + done };
      const count = this.#ask('copy', rest, (calls, descriptor) =>
        calls.copy(place, { descriptor, offset: rest.offset }, rest.length),
      );
      if (count === undefined || count === 0) break;
      done += count;
      this.#size = Math.max(this.#size, offset + done);
    }
    return done;
  }

  punch(offset: HostOffset, length: number): void {
    this.#assertChangeable();
    const end = Math.min(offset + length, this.#size);
    if (end <= offset) return;
    const span = { offset, length: end - offset };
    const punched = this.#ask('punch', span, (calls, descriptor) => calls.punch(descriptor, offset, span.length));
    if (punched === undefined) this.#writeZeroesOverData(span);
  }

  preallocate(offset: HostOffset, length: number): void {
    this.#assertChangeable();
    if (length === 0) return;
    const sizeBefore = this.#size;
    this.#refuseMoreThanFree(offset + length - sizeBefore);
    try {
      for (let done = 0; done < length; done += reserveLengthMax) {
        this.#reserve({ offset: offset + done, length: Math.min(reserveLengthMax, length - done) });
      }
    } catch (error) {
      // A refused reservation keeps what it got: without this the disk would stay full.
      this.#attempt('truncate', () => {
        ftruncateSync(this.#openDescriptor, sizeBefore);
      });
      this.#size = sizeBefore;
      throw error;
    }
  }

  nextData(offset: HostOffset): ByteSpan | undefined {
    if (offset >= this.#size) return undefined;
    const all = { offset, length: this.#size - offset };
    const start = this.#ask('seek', all, (calls, descriptor) => calls.seekData(descriptor, offset));
    if (start === undefined) return all;
    if (start === noMoreData || start >= this.#size) return undefined;
    const end = this.#ask('seek', all, (calls, descriptor) => calls.seekHole(descriptor, start));
    const dataEnd = end === undefined || end === noMoreData ? this.#size : Math.min(end, this.#size);
    return { offset: start, length: dataEnd - start };
  }

  resize(size: number): void {
    this.#assertChangeable();
    this.#attempt(
      'truncate',
      () => {
        ftruncateSync(this.#openDescriptor, size);
      },
      { length: size },
    );
    this.#size = size;
  }

  startWriteBack(offset: HostOffset, length: number): void {
    this.#assertChangeable();
    // The span before is waited for, so that never more than two spans are dirty: the shortest stalls, measured.
    const before = this.#writeBackUnderWay;
    this.#writeBackUnderWay = { offset, length };
    try {
      const started = this.#ask('writeBack', { offset, length }, (calls, descriptor) => {
        if (before === undefined) return calls.startWriteBack(descriptor, offset, length);
        const finished = calls.finishWriteBack(descriptor, before.offset, before.length);
        return finished < 0 ? finished : calls.startWriteBack(descriptor, offset, length);
      });
      if (started === undefined) this.flush();
    } catch (error) {
      // The kernel tells a failed write-back once; the next flush would succeed over the lost writes.
      this.#writesLost = true;
      throw error;
    }
  }

  flush(): void {
    this.#assertChangeable();
    this.#writeBackUnderWay = undefined;
    try {
      this.#attempt('flush', () => {
        fdatasyncSync(this.#openDescriptor);
      });
    } catch (error) {
      this.#writesLost = true;
      throw error;
    }
  }

  close(): void {
    const descriptor = this.#openDescriptor;
    this.#descriptor = undefined;
    this.#attempt('close', () => {
      closeSync(descriptor);
    });
  }

  /** The locks are on the file that the name stands for, or they keep nobody out. */
  #lock(locks: Exclude<NodeFileOptions['locks'], 'none'>, shares: boolean): void {
    if (this.#calls === undefined) {
      throw new Fault('io-error', { operation: 'lock', path: this.#path, reason: 'byte locks need koffi on Linux' });
    }
    const descriptor = this.#openDescriptor;
    const access = this.#writable ? 'write' : 'read';
    const use = locks === 'qemu' ? access : (`data-${access}` as const);
    if (shares) shareLocks(this.#calls, descriptor, use);
    else lockFile(this.#calls, descriptor, use);
    const named = this.#attempt('stat', () => statSync(this.#path));
    const open = this.#attempt('stat', () => fstatSync(descriptor));
    if (named.dev !== open.dev || named.ino !== open.ino) {
      throw new Fault('io-error', { operation: 'lock', path: this.#path, reason: 'the file was exchanged meanwhile' });
    }
  }

  get #openDescriptor(): number {
    return present(this.#descriptor, 'the file is open');
  }

  #assertChangeable(): void {
    assert(this.#writable, 'a changed file was opened for writing');
    if (this.#writesLost) throw lostWrites(this.#path);
  }

  /** Refuses at once what cannot succeed: a failing reservation fills the disk first, for everybody. */
  #refuseMoreThanFree(growth: number): void {
    if (growth <= 0) return;
    const { bavail, bsize } = this.#attempt('statfs', () =>
      statfsSync(`/proc/self/fd/${String(this.#openDescriptor)}`),
    );
    const available = bavail * bsize;
    if (growth <= available) return;
    throw new Fault('insufficient-storage', { path: this.#path, required: growth, available });
  }

  #reserve(span: ByteSpan): void {
    const reserved = this.#ask('reserve', span, (calls, descriptor) =>
      calls.reserve(descriptor, span.offset, span.length),
    );
    if (reserved === undefined) this.#writeZeroesIntoHoles(span);
    this.#size = Math.max(this.#size, endOf(span));
  }

  /** Makes a span read as zeroes without giving it back. */
  #writeZeroesOverData(span: ByteSpan): void {
    for (const data of this.#dataWithin(span)) this.#writeZeroes(data);
  }

  /** Makes a span occupy space without changing a byte. */
  #writeZeroesIntoHoles(span: ByteSpan): void {
    let at = span.offset;
    for (const data of this.#dataWithin(span)) {
      this.#writeZeroes({ offset: at, length: data.offset - at });
      at = endOf(data);
    }
    this.#writeZeroes({ offset: at, length: endOf(span) - at });
  }

  /** The stretches of data inside a span, each cut to it. */
  *#dataWithin(span: ByteSpan): Generator<ByteSpan> {
    let at = span.offset;
    while (at < endOf(span)) {
      const data = this.nextData(hostOffset(at));
      if (data === undefined || data.offset >= endOf(span)) return;
      const end = Math.min(endOf(data), endOf(span));
      yield { offset: data.offset, length: end - data.offset };
      at = end;
    }
  }

  #writeZeroes(span: ByteSpan): void {
    for (let at = span.offset; at < endOf(span); at += zeroes.length) {
      this.writeAt(hostOffset(at), zeroes.subarray(0, Math.min(zeroes.length, endOf(span) - at)));
    }
  }

  /** Asks for a Linux call: its answer, {@link noMoreData}, or undefined when this file system cannot do it. */
  #ask(ability: Ability, span: ByteSpan, call: (calls: SystemCalls, descriptor: number) => number): number | undefined {
    if (this.#calls === undefined || this.#missing.has(ability)) return undefined;
    const answer = call(this.#calls, this.#openDescriptor);
    if (answer >= 0) return answer;
    const name = this.#calls.errorNameOf(answer);
    if (ability === 'seek' && name === 'ENXIO') return noMoreData;
    if (!notSupported.has(name) && !(ability === 'copy' && notCopied.has(name)))
      throw fileFault(name, { operation: ability, path: this.#path, ...span });
    this.#missing.add(ability);
    return undefined;
  }

  #attempt<Result>(operation: string, act: () => Result, span?: Partial<ByteSpan>): Result {
    try {
      return act();
    } catch (error) {
      throw faultOfThrown(error, { operation, path: this.#path, ...span });
    }
  }
}

const statBlockSize = 512;
const noMoreData = -1;
/** One reservation call takes at most so long a span. */
const reserveLengthMax = GiB;
const zeroes = new Uint8Array(MiB);
/** File systems share blocks of this length or of longer ones; those copy what is cut differently themselves. */
const copyBlockLength = 4 * KiB;
/** Also said of two file systems, and of two that are not alike in what they store. */
const notCopied: ReadonlySet<string> = new Set(['EXDEV', 'EINVAL']);
const notSupported: ReadonlySet<string> = new Set(['EOPNOTSUPP', 'ENOTSUP', 'ENOSYS']);
const loaded = loadSystemCalls();
const linuxCalls = 'calls' in loaded ? loaded.calls : undefined;

function attemptOpen(path: string, flags: number): number {
  try {
    // Without O_NONBLOCK, opening a named pipe would wait for its other end.
    return openSync(path, flags | constants.O_NOFOLLOW | constants.O_NONBLOCK, newFileMode);
  } catch (error) {
    throw faultOfThrown(error, { operation: 'open', path });
  }
}

const newFileMode = 0o600;
