// Who may ask without a token: this machine, and pages that this service itself has sent.

import type { IncomingHttpHeaders } from 'node:http';

import { Fault } from '../base/fault.ts';
import { isLoopback } from '../base/loopback.ts';

/**
 * The judge for a service with these names, see {@link judgeOrigin}. Nearly all requests come under one name, and the one
 * that was ours last is not taken apart again.
 */
export function originJudge(
  hosts: readonly string[],
): (headers: IncomingHttpHeaders, authority: string | undefined) => Fault | undefined {
  let ours: string | undefined;
  return (headers, authority) => {
    const isPlain = headers.origin === undefined && headers['sec-fetch-site'] === undefined;
    if (isPlain && authority !== undefined && authority === ours) return undefined;
    const fault = judgeOrigin(headers, { authority, hosts });
    if (fault === undefined) ours = authority;
    return fault;
  };
}

/**
 * The fault of a request that came under a foreign name (so that no page can point its own name at us) or from a
 * foreign page (`Origin`, `Sec-Fetch-Site`), or undefined. `authority` is whom the request is meant for; `hosts` are
 * names that are ours too.
 */
function judgeOrigin(
  headers: IncomingHttpHeaders,
  { authority: host, hosts }: { readonly authority: string | undefined; readonly hosts: readonly string[] },
): Fault | undefined {
  const { origin } = headers;
  if (host !== undefined && !isOurs(hostNameOf(host), hosts)) return new Fault('forbidden', { host });
  if (headers['sec-fetch-site'] === 'cross-site') {
    return new Fault('forbidden', { origin: origin ?? 'of another site' });
  }
  if (origin === undefined || isSameOrigin(origin, { host, hosts })) return undefined;
  return new Fault('forbidden', { origin });
}

function isOurs(name: string, hosts: readonly string[]): boolean {
  return isLoopback(name) || hosts.includes(name);
}

/** The name in a Host header: without port, without the brackets of IPv6, in lower case. */
function hostNameOf(host: string): string {
  const bracketed = /^\[([^\]]*)\](?::\d*)?$/.exec(host);
  return (bracketed?.[1] ?? host.replace(/:\d*$/, '')).toLowerCase();
}

/** `null` and whatever cannot be read is foreign. */
function isSameOrigin(
  origin: string,
  options: { readonly host: string | undefined; readonly hosts: readonly string[] },
): boolean {
  const match = /^https?:\/\/([^/]+)$/i.exec(origin);
  const authority = match?.[1];
  if (authority === undefined) return false;
  return authority === options.host || options.hosts.includes(hostNameOf(authority));
}
