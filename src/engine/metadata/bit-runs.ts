// Bits in bytes, the lowest bit of each byte first (BMP-04): set in runs, and read as runs.

/** Sets the bits `from…to`, `to` excluded. */
export function setBits(bytes: Uint8Array, from: number, to: number): void {
  if (to <= from) return;
  const firstByte = Math.floor(from / 8);
  const lastByte = Math.floor((to - 1) / 8);
  const head = (0xff << (from % 8)) & 0xff;
  const tail = 0xff >> (7 - ((to - 1) % 8));
  if (firstByte === lastByte) {
    bytes[firstByte] = (bytes[firstByte] ?? 0) | (head & tail);
    return;
  }
  bytes[firstByte] = (bytes[firstByte] ?? 0) | head;
  bytes.fill(0xff, firstByte + 1, lastByte);
  bytes[lastByte] = (bytes[lastByte] ?? 0) | tail;
}

/** Clears all bits from `from` on, which may lie behind the last one. */
export function clearBitsFrom(bytes: Uint8Array, from: number): void {
  const byte = Math.floor(from / 8);
  if (byte >= bytes.length) return;
  bytes[byte] = (bytes[byte] ?? 0) & ((1 << (from % 8)) - 1);
  bytes.fill(0, byte + 1);
}

/** The first bit in `from…to` that is `wanted`, or `to`. */
export function nextBit(
  bytes: Uint8Array,
  span: { readonly from: number; readonly to: number; readonly wanted: boolean },
): number {
  const plain = span.wanted ? 0 : 0xff;
  let bit = span.from;
  while (bit < span.to) {
    const byte = bytes[Math.floor(bit / 8)] ?? 0;
    if (byte === plain && bit % 8 === 0) bit += 8;
    else if (((byte >>> (bit % 8)) & 1) === (span.wanted ? 1 : 0)) return bit;
    else bit += 1;
  }
  return span.to;
}
