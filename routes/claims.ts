// What a request says of the lease that it is done with.

import type { FastifyRequest } from 'fastify';

import { invalidRequest } from '../src/http/schema.ts';
import type { LeaseClaim } from '../src/services/services.ts';
import { fencingTokenPattern, fencingTokenRule } from './schemas/leases.ts';

/** From `Lease-Id` and `Fencing-Token`; undefined without them. Faults `invalid-request`. */
export function claimOf({ headers }: Pick<FastifyRequest, 'headers'>): LeaseClaim | undefined {
  const leaseId = headers['lease-id'];
  const token = headers['fencing-token'];
  if (leaseId === undefined && token === undefined) return undefined;
  // By hand: requests for bytes pass here, and a schema costs more than all else that a lease does to them.
  if (Array.isArray(leaseId) || Array.isArray(token) || (token !== undefined && !fencingTokenPattern.test(token))) {
    throw invalidRequest({ pointer: '/fencing-token', in: 'header', message: fencingTokenRule });
  }
  return { leaseId, fencingToken: token === undefined ? undefined : Number(token) };
}

/** Where an image is made that stands on none, no lease counts. Faults `invalid-request` for a request that brings one. */
export function refuseClaim({ headers }: Pick<FastifyRequest, 'headers'>): void {
  const header = ['lease-id', 'fencing-token'].find((name) => headers[name] !== undefined);
  if (header === undefined) return;
  const message = 'a lease is one on the image below the new one, and this request names none: leave the header out';
  throw invalidRequest({ pointer: `/${header}`, in: 'header', message });
}
