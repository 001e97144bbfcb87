// Bytes that are all zero.

/** Whether all bytes are zero; words at a time where the bytes lie on a word. */
export function isZeroes(bytes: Uint8Array): boolean {
  const wordsStart = (4 - (bytes.byteOffset % 4)) % 4;
  if (wordsStart >= bytes.length) return bytes.every((byte) => byte === 0);
  const wordCount = Math.floor((bytes.length - wordsStart) / 4);
  for (let index = 0; index < wordsStart; index += 1) if (bytes[index] !== 0) return false;
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset + wordsStart, wordCount);
  for (let index = 0; index < wordCount; index += 1) if (words[index] !== 0) return false;
  for (let index = wordsStart + wordCount * 4; index < bytes.length; index += 1) {
    if (bytes[index] !== 0) return false;
  }
  return true;
}
