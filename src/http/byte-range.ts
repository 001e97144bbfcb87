// Range and Content-Range, parsed by hand and printed; what a schema would refuse, HTTP wants ignored.

import type { ByteSpan } from '../base/byte-span.ts';
import { Fault } from '../base/fault.ts';

/** One part of a Range header, before the size is known. Offsets in bytes, `last` inclusive. */
export type RangePart =
  | { readonly kind: 'from'; readonly first: number; readonly last: number | undefined }
  | { readonly kind: 'suffix'; readonly length: number };

/** How many ranges one answer holds at most, after those that touch were joined. */
export const rangesMax = 16;

/**
 * The parts of a Range header in their order, or undefined when there is none or it is malformed: it is then to be
 * ignored (RFC 9110 §14.2). Numbers beyond 2^53 stand for "to the end".
 */
export function parseRange(header: string | undefined): readonly RangePart[] | undefined {
  if (header === undefined) return undefined;
  const plain = plainRange.exec(header);
  if (plain !== null) {
    const [first, last] = [Number(plain[1]), Number(plain[2])];
    return first <= last ? [{ kind: 'from', first, last }] : undefined;
  }
  const unit = /^bytes=(.*)$/i.exec(header.trim());
  const set = unit?.[1]?.split(',').map((part) => part.trim());
  if (set === undefined) return undefined;
  const parts = set.filter((part) => part !== '').map(parsePart);
  if (parts.length === 0) return undefined;
  return parts.every((part) => part !== undefined) ? parts : undefined;
}

/** What nearly every client sends; it is spared the lists of the general form. */
const plainRange = /^bytes=(\d{1,15})-(\d{1,15})$/;

/**
 * The spans that a Range asks for in `size` bytes: clamped to the end; spans that touch or overlap joined, in the order
 * of their first mention. Faults `range-not-satisfiable` when nothing is left, or, with `ranges` and `rangesMax`, too much.
 */
export function resolveRange(parts: readonly RangePart[], size: number): readonly ByteSpan[] {
  const spans = parts.map((part) => resolvePart(part, size)).filter((span) => span !== undefined);
  const joined = spans.length === 1 ? spans : joinSpans(spans);
  if (joined.length === 0) throw new Fault('range-not-satisfiable', { size });
  if (joined.length > rangesMax) {
    throw new Fault('range-not-satisfiable', { size, ranges: joined.length, rangesMax });
  }
  return joined;
}

/** `bytes first-last/size` of a span that is not empty. */
export function printContentRange(span: ByteSpan, size: number): string {
  return `bytes ${span.offset}-${span.offset + span.length - 1}/${size}`;
}

/** What a Content-Range of a request says: where the body belongs, and how large the client thinks the image is. */
export interface ContentRange {
  readonly span: ByteSpan;
  readonly size: number | undefined;
}

/** Faults `invalid-content-range`. */
export function parseContentRange(header: string): ContentRange {
  const match = /^bytes +(\d{1,16})-(\d{1,16})\/(\*|\d{1,16})$/i.exec(header.trim());
  const [first, last] = [Number(match?.[1]), Number(match?.[2])];
  const size = match?.[3] === '*' ? undefined : Number(match?.[3]);
  const valid = Number.isSafeInteger(first) && Number.isSafeInteger(last) && first <= last;
  if (!valid || (size !== undefined && last >= size)) throw new Fault('invalid-content-range', {});
  return { span: { offset: first, length: last - first + 1 }, size };
}

function parsePart(text: string): RangePart | undefined {
  const match = /^(\d*)-(\d*)$/.exec(text);
  const [first, last] = [match?.[1], match?.[2]];
  if (first === undefined || last === undefined) return undefined;
  if (first === '') return last === '' ? undefined : { kind: 'suffix', length: numberOf(last) };
  if (last === '') return { kind: 'from', first: numberOf(first), last: undefined };
  if (numberOf(last) < numberOf(first)) return undefined;
  return { kind: 'from', first: numberOf(first), last: numberOf(last) };
}

function numberOf(digits: string): number {
  return Math.min(Number(digits), Number.MAX_SAFE_INTEGER);
}

function resolvePart(part: RangePart, size: number): ByteSpan | undefined {
  const start = part.kind === 'suffix' ? Math.max(0, size - part.length) : part.first;
  const last = part.kind === 'suffix' ? size - 1 : Math.min(part.last ?? size - 1, size - 1);
  return start > last ? undefined : { offset: start, length: last - start + 1 };
}

/** Spans that touch become one, at the place of the first. */
function joinSpans(spans: readonly ByteSpan[]): readonly ByteSpan[] {
  const sorted = spans.map((span, index) => ({ ...span, index })).toSorted((one, other) => one.offset - other.offset);
  const joined: { offset: number; length: number; index: number }[] = [];
  for (const span of sorted) {
    const previous = joined.at(-1);
    if (previous === undefined || previous.offset + previous.length < span.offset) {
      joined.push(span);
      continue;
    }
    const end = Math.max(previous.offset + previous.length, span.offset + span.length);
    previous.length = end - previous.offset;
    previous.index = Math.min(previous.index, span.index);
  }
  return joined.toSorted((one, other) => one.index - other.index).map(({ offset, length }) => ({ offset, length }));
}
