// A span of bytes: where it starts and how long it is. ("Range" is HTTP's word.)

/** `offset` and `length` in bytes. */
export interface ByteSpan {
  readonly offset: number;
  readonly length: number;
}

/** The first byte after the span. */
export function endOf(span: ByteSpan): number {
  return span.offset + span.length;
}

/** Whether two spans share at least one byte. */
export function overlaps(one: ByteSpan, other: ByteSpan): boolean {
  return one.offset < endOf(other) && other.offset < endOf(one);
}
