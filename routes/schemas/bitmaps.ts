// Persistent dirty bitmaps on the wire.

import { z } from 'zod';

import type { BitmapDescription } from '../../src/services/services.ts';
import { Cursor, ImageKey, Limit, QuerySize, Size } from './common.ts';
import { InnerName } from './snapshots.ts';

export const BitmapParams = z.strictObject({
  image: ImageKey,
  bitmap: z
    .string()
    .min(1)
    .max(1023)
    .meta({ description: 'The name of a bitmap', examples: ['daily'] }),
});

export const CreateBitmap = z
  .strictObject({
    name: InnerName.meta({ examples: ['daily'] }),
    granularity: Size.optional().meta({
      description:
        'Bytes that one bit stands for: a power of two of 512 bytes to 2 GiB; left out, the cluster size between 4 KiB and 64 KiB',
    }),
    enabled: z.boolean().default(true).meta({ description: 'Whether changes are recorded from now on' }),
  })
  .meta({ id: 'CreateBitmap' });

export const UpdateBitmap = z.strictObject({ enabled: z.boolean() }).meta({ id: 'UpdateBitmap' });

export const MergeBitmaps = z
  .strictObject({
    from: z
      .array(z.string().min(1).max(1023))
      .min(1)
      .max(64)
      .meta({ description: 'The names of bitmaps of the same image', examples: [['daily']] }),
  })
  .meta({ id: 'MergeBitmaps' });

export const Bitmap = z
  .object({
    name: z.string(),
    granularity: Size.meta({ description: 'Bytes that one bit stands for' }),
    enabled: z.boolean().meta({ description: 'Whether changes are recorded' }),
    inconsistent: z.boolean().meta({ description: 'It was in use when its program ended: it can only be deleted' }),
    dirtyBytes: Size.nullable().meta({ description: 'null when the bitmap is inconsistent' }),
  })
  .meta({ id: 'Bitmap' });

export const ListBitmapsQuery = z.strictObject({ limit: Limit, cursor: Cursor });

export const BitmapPage = z
  .object({ items: z.array(Bitmap), nextCursor: z.string().nullable() })
  .meta({ id: 'BitmapPage' });

export const DirtyExtentsQuery = z.strictObject({
  offset: QuerySize.optional().meta({ description: 'Where to begin; 0 when left out' }),
  length: QuerySize.optional().meta({ description: 'How much to list; to the end when left out' }),
  limit: Limit,
  cursor: Cursor,
});

export const DirtyExtentPage = z
  .object({
    virtualSize: Size,
    generation: Size,
    items: z.array(z.object({ offset: Size, length: Size, dirty: z.boolean() }).meta({ id: 'DirtyExtent' })),
    nextCursor: z.string().nullable(),
  })
  .meta({ id: 'DirtyExtentPage' });

/** A bitmap as the wire has it. */
export function printBitmap(bitmap: BitmapDescription): z.input<typeof Bitmap> {
  const { name, granularity, enabled, inconsistent, dirtyBytes } = bitmap;
  return { name, granularity, enabled, inconsistent, dirtyBytes: dirtyBytes ?? null };
}
