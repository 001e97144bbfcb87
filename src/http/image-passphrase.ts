// Image-Passphrase: the passphrase of an encrypted image for one request, as bytes of a structured field (RFC 9651 §3.3.5).

import type { IncomingHttpHeaders } from 'node:http';

import { invalidRequest } from './schema.ts';

/** From `:base64:`; undefined without the header. Faults `invalid-request`, and never says what was sent. */
export function passphraseOf({ headers }: { readonly headers: IncomingHttpHeaders }): Uint8Array | undefined {
  const given = headers['image-passphrase'];
  if (given === undefined) return undefined;
  const encoded = typeof given === 'string' ? /^:([A-Za-z0-9+/]+={0,2}):$/.exec(given)?.[1] : undefined;
  if (encoded !== undefined) return Buffer.from(encoded, 'base64');
  const message = 'the bytes of a passphrase are in base64 between colons, as in :Y29ycmVjdA==:';
  throw invalidRequest({ pointer: '/image-passphrase', in: 'header', message });
}
