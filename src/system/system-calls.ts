// The Linux calls on open files that Node lacks: holes, reservation, paced write-back, copies, locks. Absent where koffi does not load.

import { createRequire } from 'node:module';

import type * as Koffi from 'koffi';

import { assert } from '../base/assert.ts';

/**
 * Each call answers zero or more when it was done, and otherwise the negative error number (see {@link errorNameOf}).
 * Offsets and lengths in bytes; interrupted calls are repeated.
 */
export interface SystemCalls {
  /** Gives a span back; it reads as zeroes, the size stays. */
  punch(descriptor: number, offset: number, length: number): number;
  /** Reserves a span and grows the file to its end. */
  reserve(descriptor: number, offset: number, length: number): number;
  /** The next byte of data at or after `offset`. */
  seekData(descriptor: number, offset: number): number;
  /** The next hole at or after `offset`; the end of the file counts as one. */
  seekHole(descriptor: number, offset: number): number;
  /** Starts writing a span to the disk. */
  startWriteBack(descriptor: number, offset: number, length: number): number;
  /** Writes a span to the disk and waits for it; says nothing about durability. */
  finishWriteBack(descriptor: number, offset: number, length: number): number;
  /**
   * Copies bytes from file to file without their passing through this process, and answers how many: fewer where it was cut
   * short, 0 at the end of the file that they come from. Where the two can share blocks, nothing is moved at all.
   */
  copy(from: FilePlace, to: FilePlace, length: number): number;
  /** Takes a shared lock on one byte for the open file; every other opener, of this process too, sees it. */
  shareByte(descriptor: number, byte: number): number;
  /** Takes one byte of the open file, which is open for writing, for this opener alone. */
  ownByte(descriptor: number, byte: number): number;
  /** Gives the lock on one byte back. */
  releaseByte(descriptor: number, byte: number): number;
  /** Whether another opener holds a lock on one byte: 1, or 0 for nobody. */
  probeByte(descriptor: number, byte: number): number;
  /** The name of a negative answer: `ENOSPC`, `EIO` … */
  errorNameOf(answer: number): string;
}

/** A byte of an open file. */
export interface FilePlace {
  readonly descriptor: number;
  readonly offset: number;
}

/** What a file does without these calls is decided by each file; this is why they are missing, if they are. */
export type SystemCallsOrReason = { readonly calls: SystemCalls } | { readonly missing: string };

const punchHoleKeepingSize = 3;
const reserveGrowing = 0;
const fromNextData = 3;
const fromNextHole = 4;
const writeOnly = 2;
const waitWriteWait = 7;

/** Locks of the open file description, which a thread or a copied descriptor does not lose by accident. */
const getOpenFileLock = 36;
const setOpenFileLock = 37;
const readLock = 0;
const writeLock = 1;
const noLock = 2;
const noFlags = 0;
/** `struct flock` on 64-bit Linux: type at 0, whence at 2, start at 8, length at 16, process at 24. */
const lockRecordLength = 32;
const fileOffsetLength = 8;

/** Numbers that have another name on Linux, by which they are known here. */
const secondNames: ReadonlySet<string> = new Set(['EWOULDBLOCK', 'ENOTSUP', 'EDEADLOCK']);

/** Loads the calls; they exist on 64-bit Linux, where the kernel's file offsets are `int64_t`. */
export function loadSystemCalls(): SystemCallsOrReason {
  if (process.platform !== 'linux') return { missing: 'not on Linux' };
  if (process.arch !== 'x64' && process.arch !== 'arm64') return { missing: 'not a 64-bit machine' };
  try {
    return { calls: bind(createRequire(import.meta.url)('koffi') as typeof Koffi) };
  } catch (error) {
    return { missing: String(error) };
  }
}

function bind(koffi: typeof Koffi): SystemCalls {
  const library = koffi.load(null);
  const fallocate = library.func('int fallocate(int fd, int mode, int64_t offset, int64_t length)') as LinuxCall;
  const seek = library.func('int64_t lseek(int fd, int64_t offset, int whence)') as LinuxCall;
  const syncRange = library.func(
    'int sync_file_range(int fd, int64_t offset, int64_t length, unsigned int flags)',
  ) as LinuxCall;
  const control = library.func('int fcntl(int fd, int command, void *lock)') as LinuxCall;
  const copyRange = library.func(
    'int64_t copy_file_range(int from, void *fromOffset, int to, void *toOffset, size_t length, unsigned int flags)',
  ) as LinuxCall;
  const interrupted = koffi.os.errno['EINTR'];
  const names = Object.entries(koffi.os.errno).filter(([name]) => !secondNames.has(name));
  const nameOf = new Map(names.map(([name, number]) => [number, name]));

  const repeat = (call: LinuxCall, ...args: readonly (number | Uint8Array)[]): number => {
    // The kernel would take a number beyond 2^53 unchecked, after rounding.
    for (const value of args) {
      assert(typeof value !== 'number' || Number.isSafeInteger(value), 'system calls take safe whole numbers');
    }
    for (;;) {
      const answer = Number(call(...args));
      if (answer >= 0) return answer;
      const errorNumber = koffi.errno();
      if (errorNumber !== interrupted) return -errorNumber;
    }
  };

  const lockByte = (
    descriptor: number,
    lock: { readonly command: number; readonly type: number; readonly byte: number },
  ): { readonly answer: number; readonly type: number } => {
    const record = new DataView(new ArrayBuffer(lockRecordLength));
    record.setInt16(0, lock.type, true);
    record.setInt32(8, lock.byte, true);
    record.setInt32(16, 1, true);
    const answer = repeat(control, descriptor, lock.command, new Uint8Array(record.buffer));
    return { answer, type: record.getInt16(0, true) };
  };

  return {
    punch: (descriptor, offset, length) => repeat(fallocate, descriptor, punchHoleKeepingSize, offset, length),
    reserve: (descriptor, offset, length) => repeat(fallocate, descriptor, reserveGrowing, offset, length),
    seekData: (descriptor, offset) => repeat(seek, descriptor, offset, fromNextData),
    seekHole: (descriptor, offset) => repeat(seek, descriptor, offset, fromNextHole),
    startWriteBack: (descriptor, offset, length) => repeat(syncRange, descriptor, offset, length, writeOnly),
    finishWriteBack: (descriptor, offset, length) => repeat(syncRange, descriptor, offset, length, waitWriteWait),
    copy: (from, to, length) =>
      repeat(copyRange, from.descriptor, fileOffset(from), to.descriptor, fileOffset(to), length, noFlags),
    shareByte: (descriptor, byte) => lockByte(descriptor, { command: setOpenFileLock, type: readLock, byte }).answer,
    ownByte: (descriptor, byte) => lockByte(descriptor, { command: setOpenFileLock, type: writeLock, byte }).answer,
    releaseByte: (descriptor, byte) => lockByte(descriptor, { command: setOpenFileLock, type: noLock, byte }).answer,
    probeByte: (descriptor, byte) => {
      const { answer, type } = lockByte(descriptor, { command: getOpenFileLock, type: writeLock, byte });
      if (answer < 0) return answer;
      return type === noLock ? 0 : 1;
    },
    errorNameOf: (answer) => nameOf.get(-answer) ?? `error ${String(-answer)}`,
  };
}

/** As the kernel wants a 64-bit offset that it moves on: every place is used once. */
function fileOffset({ offset }: FilePlace): Uint8Array {
  assert(Number.isSafeInteger(offset) && offset >= 0, 'system calls take safe whole numbers');
  const record = new DataView(new ArrayBuffer(fileOffsetLength));
  record.setUint32(0, offset % 2 ** 32, true);
  record.setUint32(4, Math.floor(offset / 2 ** 32), true);
  return new Uint8Array(record.buffer);
}

type LinuxCall = (...args: readonly (number | Uint8Array)[]) => number | bigint;
