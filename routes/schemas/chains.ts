// Images that stand on each other, on the wire.

import { z } from 'zod';

import { ImageKey } from './common.ts';

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
