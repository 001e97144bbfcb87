// The Linux calls on open files that Node lacks: holes, reservation, paced write-back. Absent where koffi does not load.

import { createRequire } from 'node:module';

import type * as Koffi from 'koffi';

import { assert } from '../../base/assert.ts';

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
  /** The name of a negative answer: `ENOSPC`, `EIO` … */
  errorNameOf(answer: number): string;
}

/** What a file does without these calls is decided by each file; this is why they are missing, if they are. */
export type SystemCallsOrReason = { readonly calls: SystemCalls } | { readonly missing: string };

const punchHoleKeepingSize = 3;
const reserveGrowing = 0;
const fromNextData = 3;
const fromNextHole = 4;
const writeOnly = 2;
const waitWriteWait = 7;

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
  const interrupted = koffi.os.errno['EINTR'];
  const nameOf = new Map(Object.entries(koffi.os.errno).map(([name, number]) => [number, name]));

  const repeat = (call: LinuxCall, ...args: readonly number[]): number => {
    // The kernel would take a number beyond 2^53 unchecked, after rounding.
    for (const value of args) assert(Number.isSafeInteger(value), 'system calls take safe whole numbers');
    for (;;) {
      const answer = Number(call(...args));
      if (answer >= 0) return answer;
      const errorNumber = koffi.errno();
      if (errorNumber !== interrupted) return -errorNumber;
    }
  };

  return {
    punch: (descriptor, offset, length) => repeat(fallocate, descriptor, punchHoleKeepingSize, offset, length),
    reserve: (descriptor, offset, length) => repeat(fallocate, descriptor, reserveGrowing, offset, length),
    seekData: (descriptor, offset) => repeat(seek, descriptor, offset, fromNextData),
    seekHole: (descriptor, offset) => repeat(seek, descriptor, offset, fromNextHole),
    startWriteBack: (descriptor, offset, length) => repeat(syncRange, descriptor, offset, length, writeOnly),
    finishWriteBack: (descriptor, offset, length) => repeat(syncRange, descriptor, offset, length, waitWriteWait),
    errorNameOf: (answer) => nameOf.get(-answer) ?? `error ${String(-answer)}`,
  };
}

type LinuxCall = (...args: readonly number[]) => number | bigint;
