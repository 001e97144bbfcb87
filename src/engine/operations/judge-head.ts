// Judges the beginning of a foreign file: what would be refused in the end is refused before the rest is sent.

import type { FaultCode } from '../../base/fault-codes.ts';
import { Fault } from '../../base/fault.ts';
import { hasBit, incompatibleBits, unknownIncompatibleBits } from '../format/features.ts';
import { textOf } from '../format/header-extensions.ts';
import { decodeHeader, headerGeometry, judgeTables } from '../format/header.ts';
import type { Header } from '../format/header.ts';

/**
 * `head` is the first 64 KiB of the file, or all of it; `backing`: it may name a backing file. Faults `unsafe-image`
 * {violations}, each a code of the table of faults with its facts, for a header that breaks its rules or limits, and for what this engine does not do (OPS-02).
 */
export function judgeHead(head: Uint8Array, options: { readonly backing: boolean }): void {
  const header = decodeJudged(head);
  const violations: { readonly code: FaultCode; readonly [fact: string]: unknown }[] = [];
  const bits = unknownIncompatibleBits(header.incompatible);
  if (bits.length > 0) violations.push({ code: 'feature-unknown', bits });
  if (hasBit(header.incompatible, incompatibleBits.externalDataFile)) {
    violations.push({ code: 'data-file-refused' });
  }
  if (header.backingNameLength > 0 && !options.backing) {
    violations.push({ code: 'backing-refused', fileName: backingNameIn(head, header) });
  }
  if (violations.length > 0) throw new Fault('unsafe-image', { violations });
}

/** The name of the file below as far as the head holds it; undefined when it lies beyond. */
function backingNameIn(head: Uint8Array, header: Header): string | undefined {
  const { backingNameOffset: start, backingNameLength: length } = header;
  return start + length > head.length ? undefined : textOf(head.subarray(start, start + length));
}

function decodeJudged(head: Uint8Array): Header {
  try {
    const header = decodeHeader(head);
    // What a repair can mend is not refused here.
    judgeTables(header, headerGeometry(header), { forCheck: true });
    return header;
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
    throw new Fault('unsafe-image', { violations: [{ code: error.code, ...error.context }] });
  }
}
