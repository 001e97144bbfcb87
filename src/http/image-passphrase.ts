// Image-Passphrase: the passphrases of encrypted images for one request, as a list of bytes (RFC 9651 §3.1, §3.3.5).

import type { IncomingHttpHeaders } from 'node:http';

import { invalidRequest } from './schema.ts';

/** From `:base64:, :base64:`; undefined without the header. Faults `invalid-request`, and never says what was sent. */
export function passphrasesIn({
  headers,
}: {
  readonly headers: IncomingHttpHeaders;
}): readonly Uint8Array[] | undefined {
  const given = headers['image-passphrase'];
  if (given === undefined) return undefined;
  const members = typeof given === 'string' ? given.split(',').map((member) => member.trim()) : [];
  const found = members.map((member) => /^:([A-Za-z0-9+/]+={0,2}):$/.exec(member)?.[1]);
  if (found.length > 0 && found.every((encoded) => encoded !== undefined)) {
    return found.map((encoded) => Buffer.from(encoded, 'base64'));
  }
  const message = 'the bytes of a passphrase are in base64 between colons, as in :Y29ycmVjdA==:';
  throw invalidRequest({ pointer: '/image-passphrase', in: 'header', message });
}
