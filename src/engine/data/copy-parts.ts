// What of a stretch of the disk the file system copies by itself, from another file, and what has to be read and written.
//
//   layer    │ in a file ──────────── │ packed, encrypted, cut by a cluster … │ in a file ─── │
//   part       `source`, whole units    none: read and written                  `source`
//
// Where copied bytes are not looked at, zeroes among them are not found (OPS-25): that is the price, and why a file says
// whether it takes copies.

import type { ByteSpan } from '../../base/byte-span.ts';
import { endOf } from '../../base/byte-span.ts';
import { alignDown } from '../../base/integers.ts';
import type { FileSpan } from '../file/file-span.ts';
import { guestOffset } from '../format/offsets.ts';
import type { GuestOffset } from '../format/offsets.ts';
import type { ImageParts } from '../image-parts.ts';

/** A span of the disk. */
export interface CopyPart {
  readonly at: GuestOffset;
  readonly length: number;
  /** What is to be written there; undefined when it has to be read. */
  readonly source: FileSpan | undefined;
}

/** What decides how an image takes copies. */
type Target = Pick<ImageParts, 'data' | 'geometry' | 'header'>;

/**
 * The parts of `span` of the image `target` one behind the other. `spanAt` tells where the bytes of the layer lie, for at
 * most so many, as {@link Layer.spanAt} does. A part begins and ends where `span` does, or a cluster or subcluster.
 */
export function* copyParts(
  target: Target,
  span: ByteSpan,
  spanAt: (at: GuestOffset, lengthMax: number) => FileSpan | undefined,
): Generator<CopyPart, void, undefined> {
  const rule = ruleOf(target);
  const end = endOf(span);
  let from = span.offset;
  let at = from;
  while (rule !== undefined && at < end) {
    const found = at % rule.unit === 0 ? spanAt(guestOffset(at), end - at) : undefined;
    const source = found === undefined ? undefined : copied(found, { at, rule });
    if (source === undefined) {
      at = alignDown(at, rule.unit) + rule.unit;
      continue;
    }
    if (at > from) yield partOf(from, at, undefined);
    yield partOf(at, at + source.length, source);
    at += source.length;
    from = at;
  }
  if (from < end) yield partOf(from, end, undefined);
}

function partOf(from: number, end: number, source: FileSpan | undefined): CopyPart {
  return { at: guestOffset(from), length: end - from, source };
}

interface CopyRule {
  /** File systems share whole blocks. */
  readonly block: number;
  /** What is written as a whole, so that nothing around it has to be read. */
  readonly unit: number;
  readonly diskEnd: number;
}

/** Undefined when nothing is copied into this image. */
function ruleOf({ data, geometry, header }: Target): CopyRule | undefined {
  const { copyBlock: block } = data;
  if (block === undefined || block > geometry.clusterSize) return undefined;
  return { block, unit: Math.max(block, geometry.subclusterSize), diskEnd: header.virtualSize };
}

/** As much of it as is copied, if anything: whole units, of which the last one of the disk may be cut by its end. */
function copied(found: FileSpan, { at, rule }: { readonly at: number; readonly rule: CopyRule }): FileSpan | undefined {
  const { block, unit, diskEnd } = rule;
  if (found.offset % block !== 0) return undefined;
  const length = at + found.length === diskEnd ? found.length : alignDown(found.length, unit);
  return length === 0 ? undefined : found.subarray(0, length);
}
