// Leases on the wire.

import { z } from 'zod';

import type { Lease as LeaseValue, LeaseView } from '../../src/services/services.ts';
import { Cursor, ImageKey, Limit, printTime, Size, Time } from './common.ts';

export const LeaseMode = z.enum(['exclusive', 'shared']);

const Owner = z
  .string()
  .nullable()
  .meta({ description: 'Who says to hold it', examples: ['backup-7'] });

/** What an image shows of its lease. */
export const LeaseHolder = z
  .object({ mode: LeaseMode, owner: Owner, expiresAt: Time })
  .meta({ id: 'LeaseHolder', description: 'Of several leases the one that ends last' });

const lease = {
  mode: LeaseMode,
  owner: Owner,
  fencingToken: Size.meta({ description: 'Grows by one with every exclusive lease of the image' }),
  acquiredAt: Time,
  expiresAt: Time.meta({ description: 'Unless it is used or renewed before' }),
};

export const Lease = z
  .object({ id: z.string().meta({ description: 'The secret that `Lease-Id` carries' }), ...lease })
  .meta({ id: 'Lease' });

export const HeldLease = z.object(lease).meta({ id: 'HeldLease' });

export const LeasePage = z
  .object({ items: z.array(HeldLease), nextCursor: z.string().nullable() })
  .meta({ id: 'LeasePage', description: 'The leases of an image, without their ids, the oldest first' });

export const ListLeasesQuery = z.strictObject({ limit: Limit, cursor: Cursor });

const ttlSecondsMin = 5;
const ttlSecondsMax = 86_400;
const ttlSecondsDefault = 60;

export const AcquireLease = z
  .strictObject({
    mode: LeaseMode,
    ttlSeconds: z.int().min(ttlSecondsMin).max(ttlSecondsMax).default(ttlSecondsDefault),
    owner: z.string().min(1).max(255).optional(),
  })
  .meta({ id: 'AcquireLease' });

export const BreakLease = z
  .strictObject({
    graceSeconds: z.int().min(0).max(ttlSecondsMax).default(0).meta({ description: 'How long holders may go on' }),
  })
  .meta({ id: 'BreakLease' });

export const LeaseParams = z.strictObject({
  image: ImageKey,
  lease: z.string().min(1).max(255).meta({ description: 'The id of the lease, which is its secret' }),
});

export const fencingTokenPattern = /^\d{1,15}$/;
export const fencingTokenRule = 'a fencing token is a whole number';

/** What a change says of the lease that it is done with. */
export const ClaimHeaders = z.looseObject({
  'lease-id': z
    .string()
    .optional()
    .meta({ description: 'The lease that the request is done with; it is renewed. Not live: `lease-lost`' }),
  'fencing-token': z
    .string()
    .regex(fencingTokenPattern, { error: fencingTokenRule })
    .optional()
    .meta({ description: 'Of the lease. A newer one exists: `fencing-token-stale`' }),
});

/** A lease as its holder sees it. */
export function printLease(held: LeaseValue): z.input<typeof Lease> {
  return { id: held.id, ...printHeldLease(held) };
}

export function printLeases(
  leases: readonly LeaseView[],
  { nextCursor }: { readonly nextCursor: string | null },
): z.input<typeof LeasePage> {
  return { items: leases.map(printHeldLease), nextCursor };
}

export function printHolder(held: LeaseView): z.input<typeof LeaseHolder> {
  return { mode: held.mode, owner: held.owner ?? null, expiresAt: printTime(held.expiresAtMs) };
}

function printHeldLease(held: LeaseView): z.input<typeof HeldLease> {
  const { mode, fencingToken } = held;
  const owner = held.owner ?? null;
  return {
    mode,
    owner,
    fencingToken,
    acquiredAt: printTime(held.acquiredAtMs),
    expiresAt: printTime(held.expiresAtMs),
  };
}
