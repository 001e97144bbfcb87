// Gives the memory of bytes back that nobody needs any more, without waiting for the collector.

import { KiB } from './units.ts';

/** Below, the collector is cheaper. */
const lengthMin = 16 * KiB;

/**
 * Empties the bytes if they fill a buffer of their own: whoever still looks at them sees none. A body of some hundred
 * MiB would otherwise make the collector walk the whole heap again and again, for it counts buffers as pressure.
 */
export function releaseBytes(bytes: Uint8Array): void {
  const { buffer } = bytes;
  if (!(buffer instanceof ArrayBuffer) || buffer.byteLength < lengthMin) return;
  if (bytes.length === buffer.byteLength) buffer.transfer(0);
}
