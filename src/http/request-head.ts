// What the head of a request says of itself: its version, and the one name that it came under.

import type { IncomingMessage } from 'node:http';

import type { Fault } from '../base/fault.ts';
import { invalidRequest } from './schema.ts';

const hostHeader = 'host';

/** One Host header, and in HTTP/1.1 not none (RFC 9112 §3.2): of two names, a proxy may have believed the other one. */
export function judgeHead(raw: IncomingMessage): Fault | undefined {
  if (raw.httpVersionMajor !== 1) {
    return invalidRequest({ pointer: '', in: 'request', message: 'this port speaks HTTP/1.1' });
  }
  const count = countOf(raw, hostHeader);
  if (count === 1 || (count === 0 && raw.httpVersion === '1.0')) return undefined;
  const message = count === 0 ? 'the Host header is missing' : 'there is more than one Host header';
  return invalidRequest({ pointer: '/host', in: 'header', message });
}

/** How often a header came, by its name in lower case. Node joins the values of most. */
export function countOf({ rawHeaders }: IncomingMessage, name: string): number {
  let count = 0;
  for (let index = 0; index < rawHeaders.length; index += 2) {
    if (rawHeaders[index]?.length === name.length && rawHeaders[index]?.toLowerCase() === name) count += 1;
  }
  return count;
}

/** The authority that a request is meant for: a target that names one itself counts, whatever Host says (RFC 9112 §3.2.2). */
export function authorityOf({ url, headers }: IncomingMessage): string | undefined {
  if (url === undefined || url.startsWith('/')) return headers.host;
  return /^https?:\/\/(?:[^/?#@]*@)?([^/?#]*)/i.exec(url)?.[1] ?? headers.host;
}
