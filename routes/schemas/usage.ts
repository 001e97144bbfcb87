// Usage on the wire.

import { z } from 'zod';

import { Size } from './common.ts';

export const Usage = z
  .object({
    images: Size,
    virtualBytes: Size.meta({ description: 'Virtual sizes of all images together' }),
    allocatedBytes: Size.meta({ description: 'What the image files occupy' }),
    reservedBytes: Size.meta({ description: 'What files that still come in occupy' }),
    freeBytes: Size.meta({ description: 'Free bytes of the file system' }),
    quotaBytes: Size.nullable().meta({
      description: 'What all files together may occupy; null for as much as there is',
    }),
  })
  .meta({ id: 'Usage' });
