// A lease on an image, taken over the real app.

import assert from 'node:assert/strict';

import type { TestService } from './test-service.ts';

/** A lease, as whoever has taken it is told. */
export interface LeaseBody {
  readonly id: string;
  readonly mode: string;
  readonly owner: string | null;
  readonly fencingToken: number;
  readonly acquiredAt: string;
  readonly expiresAt: string;
}

/** An exclusive lease, unless `options` say otherwise; it is granted, or the test fails. */
export async function acquireLease(service: TestService, image: string, options: object = {}): Promise<LeaseBody> {
  const answer = await service.post(`/v1/images/${image}/leases`, { mode: 'exclusive', ...options });
  assert.equal(answer.status, 201, answer.text);
  return answer.body as LeaseBody;
}
