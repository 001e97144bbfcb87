// What a request says of the lease that it is done with.

import type { FastifyRequest } from 'fastify';

import { invalidRequest } from '../src/http/schema.ts';
import type { LeaseClaim } from '../src/services/services.ts';
import { ClaimHeaders } from './schemas/leases.ts';

/** From `Lease-Id` and `Fencing-Token`; undefined without them. Faults `invalid-request`. */
export function claimOf({ headers }: Pick<FastifyRequest, 'headers'>): LeaseClaim | undefined {
  if (headers['lease-id'] === undefined && headers['fencing-token'] === undefined) return undefined;
  const claim = ClaimHeaders.safeParse(headers);
  if (!claim.success) {
    throw invalidRequest({ pointer: '/fencing-token', in: 'header', message: 'a fencing token is a whole number' });
  }
  const { 'lease-id': leaseId, 'fencing-token': token } = claim.data;
  return { leaseId, fencingToken: token === undefined ? undefined : Number(token) };
}
