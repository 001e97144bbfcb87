// Images that stand on each other, on the wire.

import { z } from 'zod';

import { ImageKey, Size, SnapshotKey } from './common.ts';

export const RebaseImage = z
  .strictObject({
    backing: z
      .strictObject({ image: ImageKey })
      .nullable()
      .meta({ description: 'The image to stand on, by id or name; null for none' }),
    mode: z.enum(['safe', 'unsafe']).default('safe').meta({
      description:
        '`safe` keeps what the guest sees: what differs is copied first. `unsafe` only changes the name, for images that hold the same',
    }),
  })
  .meta({ id: 'RebaseImage' });

export const CompareImages = z
  .strictObject({
    with: ImageKey.meta({ description: 'The other image, by id or name' }),
    strict: z.boolean().default(false).meta({
      description:
        'Whether sizes and allocation have to be the same, too; otherwise the rest of the longer disk has to be zero',
    }),
  })
  .meta({ id: 'CompareImages' });

export const ImageComparison = z
  .object({
    identical: z.boolean(),
    firstDifference: Size.optional().meta({
      description:
        'Where the disks differ first, in bytes; not there when they are identical, or their sizes alone tell them apart',
    }),
  })
  .meta({ id: 'ImageComparison' });

export const CommitImage = z
  .strictObject({
    into: ImageKey.optional().meta({
      description:
        'An image below, by id or name; the next one when left out. With a deeper one the image keeps its data',
    }),
    keepTop: z.boolean().optional().meta({
      description:
        'Whether the image keeps its data, too. Left out, it is emptied when the next image below has everything; committed into a deeper one it cannot be emptied, so `false` is refused there',
    }),
  })
  .meta({ id: 'CommitImage' });

export const DigestImage = z
  .strictObject({
    algorithm: z.literal('sha256').default('sha256'),
    snapshot: SnapshotKey.optional().meta({ description: 'Of this snapshot, by id or name' }),
  })
  .meta({ id: 'DigestImage' });

export const ImageDigest = z
  .object({
    algorithm: z.literal('sha256'),
    digest: z.string().meta({ description: 'Of all guest bytes, in hexadecimal digits' }),
    generation: Size,
  })
  .meta({ id: 'ImageDigest' });
