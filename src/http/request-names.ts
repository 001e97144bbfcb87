// What requests are called. Those that bring no name get one chance for the process and a count: chance for each of them
// would cost a short read a hundredth.

import type { IncomingHttpHeaders } from 'node:http';

/** Names that never repeat, in this process or another. `chance` is from a good source, 9 bytes or more. */
export function requestNames(chance: Uint8Array): () => string {
  const process = Buffer.from(chance).toString('base64url');
  let count = 0;
  return () => {
    count += 1;
    return `${process}-${count}`;
  };
}

/** The name that a request brings, or a new one where it brings none, or one that is no plain word. */
export function requestIdOf(headers: IncomingHttpHeaders, newRequestId: () => string): string {
  const given = headers['request-id'];
  return typeof given === 'string' && requestIdPattern.test(given) ? given : newRequestId();
}

const requestIdPattern = /^[A-Za-z0-9._~+/=:-]{1,128}$/;
