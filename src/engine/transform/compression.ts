// Unpacks compressed clusters: exactly one cluster out of bytes that may go on with something else.

import { constants, inflateRawSync, zstdDecompressSync } from 'node:zlib';
import type { ZlibOptions } from 'node:zlib';

import { assert } from '../../base/assert.ts';
import { Fault } from '../../base/fault.ts';
import { frameEnd } from './zstd-frame.ts';

/** The compression type of a header: 0 is raw deflate, 1 is zstd. */
export type CompressionType = 0 | 1;

/** What was found out about a blob on the way. */
export interface UnpackedBlob {
  /** How many bytes it has; undefined where what follows cannot be told from it. */
  readonly packedLength: number | undefined;
}

/**
 * Fills `target`, one cluster long, from a blob (CMP-03…CMP-05). `packed` reaches from the blob's first byte to the end
 * of its last sector, so padding or the next blob may follow (T32, T33). Never makes more than a cluster of output.
 * Faults `compressed-data-invalid`.
 */
export function unpackCluster(type: CompressionType, packed: Uint8Array, target: Uint8Array): UnpackedBlob {
  assert(target.length > 0, 'a cluster has bytes');
  return type === 0 ? inflateInto(packed, target) : unpackFramesInto(packed, target);
}

/** As {@link unpackCluster}; undefined for a blob that does not unpack, after which `target` holds anything. */
export function tryUnpackCluster(
  type: CompressionType,
  packed: Uint8Array,
  target: Uint8Array,
): UnpackedBlob | undefined {
  try {
    return unpackCluster(type, packed, target);
  } catch (error) {
    if (error instanceof Fault && error.code === 'compressed-data-invalid') return undefined;
    throw error;
  }
}

function inflateInto(packed: Uint8Array, target: Uint8Array): UnpackedBlob {
  const whole = tryUnpack(() => inflate(packed, inflateOptions(target.length)));
  if (whole?.output.length === target.length) {
    target.set(whole.output);
    return { packedLength: whole.packedLength };
  }
  if (whole !== undefined) throw broken('deflate', { expected: target.length, actual: whole.output.length });
  target.set(inflateFirst(packed, target.length));
  return { packedLength: undefined };
}

/** One stream, and how many bytes it has. */
function inflate(
  packed: Uint8Array,
  options: ZlibOptions,
): { readonly output: Uint8Array; readonly packedLength: number } {
  // With `info` Node returns its engine, too, which @types/node does not tell.
  const { buffer, engine } = inflateRawSync(packed, { ...options, info: true }) as unknown as InflateInfo;
  return { output: buffer, packedLength: engine.bytesWritten };
}

interface InflateInfo {
  readonly buffer: Uint8Array;
  readonly engine: { readonly bytesWritten: number };
}

function inflateOptions(length: number): ZlibOptions {
  // One byte more than is wanted, so that the first piece of output is also the last.
  return { windowBits: windowBitsMax, chunkSize: Math.max(length + 1, chunkSizeMin), maxOutputLength: length };
}

/**
 * The first `length` bytes of a stream that does not end where they end: it goes on, breaks, or is cut off behind them.
 * The cluster counts all the same, as inflate would never have seen what follows once the cluster was full. Node's
 * inflate cannot be told to stop, so the shortest input that fills the cluster is searched: output grows with input.
 */
function inflateFirst(packed: Uint8Array, length: number): Uint8Array {
  const options: ZlibOptions = {
    ...inflateOptions(length + oneByteExpandsMax),
    finishFlush: constants.Z_SYNC_FLUSH,
  };
  let tooShort = 0;
  let enough = packed.length + 1;
  let found: Uint8Array | undefined;
  while (enough - tooShort > 1) {
    const middle = Math.floor((tooShort + enough) / 2);
    const output = tryUnpack(() => inflateRawSync(packed.subarray(0, middle), options));
    if (output !== undefined && output.length < length) tooShort = middle;
    else {
      enough = middle;
      found = output;
    }
  }
  if (found === undefined) throw broken('deflate', { expected: length });
  return found.subarray(0, length);
}

function unpackFramesInto(packed: Uint8Array, target: Uint8Array): UnpackedBlob {
  let from = 0;
  let filled = 0;
  while (filled < target.length) {
    const frame = frameEnd(packed, from);
    if (frame === undefined) throw broken('zstd', { reason: 'no whole frame', at: from });
    if (frame.hasContent) {
      const content = unpackFrame(packed.subarray(from, frame.end), target.length - filled);
      target.set(content, filled);
      filled += content.length;
    }
    from = frame.end;
  }
  return { packedLength: from };
}

/** Unpacks one frame; more content than `lengthMax` means that it does not end with the cluster. */
function unpackFrame(frame: Uint8Array, lengthMax: number): Uint8Array {
  const options = {
    chunkSize: Math.max(lengthMax + 1, chunkSizeMin),
    maxOutputLength: lengthMax,
    params: { [constants.ZSTD_d_windowLogMax]: zstdWindowBitsMax },
  };
  const content = tryUnpack(() => zstdDecompressSync(frame, options));
  if (content === undefined) throw broken('zstd', { reason: 'a frame is broken or longer than the cluster' });
  return content;
}

/** Runs an unpacker of node:zlib: undefined when the packed bytes are at fault. */
function tryUnpack<Unpacked>(unpack: () => Unpacked): Unpacked | undefined {
  try {
    return unpack();
  } catch (error) {
    if (error instanceof Error && 'code' in error && isFaultOfInput(String(error.code))) return undefined;
    throw error;
  }
}

function isFaultOfInput(code: string): boolean {
  return inflateFaults.has(code) || (code.startsWith('ZSTD_error_') && code !== 'ZSTD_error_memory_allocation');
}

const inflateFaults: ReadonlySet<string> = new Set([
  'ERR_BUFFER_TOO_LARGE',
  'Z_BUF_ERROR',
  'Z_DATA_ERROR',
  'Z_NEED_DICT',
]);

/** Writers use 12 (CMP-04); a reader takes what inflate can. */
const windowBitsMax = 15;
/** 8 MiB, what every decoder is to support (RFC 8878 §3.1.1.1.2); four times the largest cluster. */
const zstdWindowBitsMax = 23;
/** Node takes no smaller pieces of output. */
const chunkSizeMin = 64;
/** One more byte of deflate input never gives more output than this: four matches of 258 bytes, and one begun before. */
const oneByteExpandsMax = 4096;

function broken(method: 'deflate' | 'zstd', facts: Readonly<Record<string, unknown>>): Fault {
  return new Fault('compressed-data-invalid', { method, ...facts });
}
