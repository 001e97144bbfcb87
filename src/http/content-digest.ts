// Content-Digest of RFC 9530, as far as it names SHA-256; other algorithms are not looked at.

import { invalidRequest } from './schema.ts';

const sha256Length = 32;

/** Whether a request would like the SHA-256 of the answer's content (Want-Content-Digest); 0 stands for no. */
export function wantsSha256(header: string | string[] | undefined): boolean {
  if (header === undefined) return false;
  return /(?:^|,)\s*sha-256\s*(?:=\s*(?:[1-9]|10)\s*)?(?:,|$)/i.test(String(header));
}

/** The header for a SHA-256 in base64. */
export function printContentDigest(sha256: string): string {
  return `sha-256=:${sha256}:`;
}

/** The SHA-256 that the header announces, or undefined without one. Faults `invalid-request`. */
export function contentDigestOf(header: string | string[] | undefined): Uint8Array | undefined {
  const text = Array.isArray(header) ? header.join(',') : header;
  const member = text?.split(',').find((part) => /^\s*sha-256\s*=/i.test(part));
  if (member === undefined) return undefined;
  const encoded = /^\s*sha-256=:([A-Za-z0-9+/]+={0,2}):\s*$/i.exec(member)?.[1];
  const digest = encoded === undefined ? undefined : Buffer.from(encoded, 'base64');
  if (digest?.length === sha256Length) return digest;
  const message = 'sha-256 is 32 bytes in base64 between colons, as in sha-256=:…:';
  throw invalidRequest({ pointer: '/content-digest', in: 'header', message });
}
