// What requests are called that bring no name: one chance for the process and a count. Chance for each of them would cost a
// short read a hundredth.

/** Names that never repeat, in this process or another. `chance` is from a good source, 9 bytes or more. */
export function requestNames(chance: Uint8Array): () => string {
  const process = Buffer.from(chance).toString('base64url');
  let count = 0;
  return () => {
    count += 1;
    return `${process}-${count}`;
  };
}
