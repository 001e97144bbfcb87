// The anti-forensic splitter of LUKS1: a key blown up to stripes that are all needed to get it back (LUKS On-Disk Format 1.2.3, §2.4).

import { createHash } from 'node:crypto';

import { assert, present } from '../../base/assert.ts';
import { viewOf } from '../format/big-endian.ts';

/** The key from its stripes. `hash`: a name that {@link isKnownHash} knows. */
export function mergeStripes(material: Uint8Array, keyLength: number, hash: string): Uint8Array {
  assert(material.length % keyLength === 0 && material.length > 0, 'key material is a whole number of stripes');
  const sum = new Uint8Array(keyLength);
  const last = material.length - keyLength;
  for (let at = 0; at < last; at += keyLength) {
    xorInto(sum, material.subarray(at, at + keyLength));
    diffuse(sum, hash);
  }
  xorInto(sum, material.subarray(last));
  return sum;
}

/** Fills the last stripe so that all give `key`; the stripes before are random already. */
export function splitIntoStripes(key: Uint8Array, material: Uint8Array, hash: string): void {
  const last = material.length - key.length;
  material.fill(0, last);
  const sum = mergeStripes(material, key.length, hash);
  xorInto(sum, key);
  material.set(sum, last);
  sum.fill(0);
}

function xorInto(target: Uint8Array, source: Uint8Array): void {
  for (let at = 0; at < target.length; at += 1) target[at] = (target[at] ?? 0) ^ (source[at] ?? 0);
}

/** Every piece as long as a digest becomes the digest of its number and itself. */
function diffuse(bytes: Uint8Array, hash: string): void {
  let number = 0;
  for (let at = 0; at < bytes.length; number += 1) {
    const prefix = new Uint8Array(4);
    viewOf(prefix).setUint32(0, number);
    const hasher = createHash(hash).update(prefix);
    const piece = bytes.subarray(at, at + digestLengthOf(hash));
    piece.set(hasher.update(piece).digest().subarray(0, piece.length));
    at += piece.length;
  }
}

/** The hashes that QEMU knows for LUKS and OpenSSL here too; lengths of their digests in bytes. */
const digestLengths: ReadonlyMap<string, number> = new Map([
  ['md5', 16],
  ['sha1', 20],
  ['ripemd160', 20],
  ['sha224', 28],
  ['sha256', 32],
  ['sha384', 48],
  ['sha512', 64],
  ['sm3', 32],
]);

/** All names that {@link isKnownHash} knows. */
export const knownHashes: readonly string[] = [...digestLengths.keys()];

/** In bytes; of a hash that is known. */
export function digestLengthOf(hash: string): number {
  return present(digestLengths.get(hash), 'the hash is known');
}

export function isKnownHash(hash: string): boolean {
  return digestLengths.has(hash);
}
