// Snapshots on the wire.

import { z } from 'zod';

import type { SnapshotDescription } from '../../src/services/services.ts';
import { Cursor, DecimalString, Limit, printTime, Size, Time } from './common.ts';

const nameLengthMax = 255;

/** The name of something new inside an image. */
export const InnerName = z
  .string()
  .min(1)
  .refine((name) => Buffer.byteLength(name) <= nameLengthMax, { error: 'a name has at most 255 bytes of UTF-8' })
  .refine((name) => !/^\d+$/.test(name), { error: 'a name is not digits only, as ids are' })
  .refine((name) => name.isWellFormed(), { error: 'a name is well-formed Unicode' })
  .refine((name) => !name.includes('\0'), { error: 'a name holds no NUL' });

export const CreateSnapshot = z
  .strictObject({ name: InnerName.meta({ examples: ['s1'] }) })
  .meta({ id: 'CreateSnapshot' });

export const Snapshot = z
  .object({
    id: z.string().meta({ description: 'The id in the file; it never comes back', examples: ['1'] }),
    name: z.string(),
    virtualSize: Size,
    vmStateSize: Size,
    createdAt: Time,
    vmClockNanoseconds: DecimalString,
    icount: DecimalString.nullable(),
  })
  .meta({ id: 'Snapshot' });

export const ListSnapshotsQuery = z.strictObject({ limit: Limit, cursor: Cursor });

export const SnapshotPage = z
  .object({ items: z.array(Snapshot), nextCursor: z.string().nullable() })
  .meta({ id: 'SnapshotPage' });

/** A snapshot as the wire has it. */
export function printSnapshot(snapshot: SnapshotDescription): z.input<typeof Snapshot> {
  const ms = snapshot.createdAtSeconds * 1000 + Math.floor(snapshot.createdAtNanoseconds / 1e6);
  return {
    id: snapshot.id,
    name: snapshot.name,
    virtualSize: snapshot.virtualSize,
    vmStateSize: snapshot.vmStateSize,
    createdAt: printTime(ms),
    vmClockNanoseconds: snapshot.vmClockNanoseconds,
    icount: snapshot.icount ?? null,
  };
}
