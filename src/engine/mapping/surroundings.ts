// The bytes around a write: what else its clusters hold, and which of it must be written at all.
//
//   cluster     │ head ──── │ source ─ │ tail ──────── │
//                           ▲                ▲
//                the end of the file is at or before the part: it reads as zeroes whatever was there before a cut

import type { ByteSource } from '../file/file-span.ts';
import { FileSpan } from '../file/file-span.ts';
import { guestOffset, hostOffset } from '../format/offsets.ts';
import type { GuestOffset, HostOffset } from '../format/offsets.ts';
import type { GuestData } from '../guest-data.ts';

/** What the guest finds before the write. */
export interface GuestBefore {
  /** Fills `target` with the bytes from `at` on. */
  readonly read: (at: GuestOffset, target: Uint8Array) => void;
  /** Whether tables alone say that the span, in bytes, reads as zeroes; no data is read to find out. */
  readonly isZero: (at: GuestOffset, length: number) => boolean;
}

/** A write and the lengths, in bytes, of what its clusters hold before and behind it. */
export interface SurroundedWrite {
  /** Where `source` goes; the head lies right before it. */
  readonly host: HostOffset;
  readonly at: GuestOffset;
  readonly source: ByteSource;
  readonly headLength: number;
  readonly tailLength: number;
  readonly before: GuestBefore;
}

/**
 * Writes `source` and, around it, what the guest finds there (T06). Zeroes at or beyond the end of the file are left
 * out: nothing was ever stored there, or it was cut off. With encryption nothing is left out: a hole
 * would be noise. Zeroes inside the file are written, since a cluster that was
 * used before holds old bytes, and whether it is a hole is not known for sure. The file may end within a cluster (T77).
 */
export function writeSurrounded(data: GuestData, write: SurroundedWrite): void {
  const { host, at, source, before } = write;
  const end = host + source.length;
  const isLeftOut = (hostStart: number, guestStart: number, length: number): boolean =>
    length === 0 || (hostStart >= data.zeroesFrom && before.isZero(guestOffset(guestStart), length));
  const headLength = isLeftOut(host - write.headLength, at - write.headLength, write.headLength) ? 0 : write.headLength;
  const tailLength = isLeftOut(end, at + source.length, write.tailLength) ? 0 : write.tailLength;
  if (headLength === 0 && tailLength === 0) {
    data.writeAt(host, at, source);
    return;
  }
  const whole = new Uint8Array(headLength + source.length + tailLength);
  if (headLength > 0) before.read(guestOffset(at - headLength), whole.subarray(0, headLength));
  if (tailLength > 0) before.read(guestOffset(at + source.length), whole.subarray(headLength + source.length));
  whole.set(source instanceof FileSpan ? source.read() : source, headLength);
  data.writeAt(hostOffset(host - headLength), guestOffset(at - headLength), whole);
}
