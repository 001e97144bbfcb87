// Measuring on the wire: what qemu-img measure is asked and answers, in camelCase.

import { z } from 'zod';

import { ImageKey, Size, SnapshotKey } from './common.ts';
import { CipherAlg, CipherMode } from './encryption.ts';
import { DataFileChoice, formatOptions } from './images.ts';

export const MeasuredEncryption = z
  .strictObject({
    format: z.enum(['luks', 'aes']),
    cipherAlg: CipherAlg.default('aes-256'),
    cipherMode: CipherMode.default('xts'),
  })
  .meta({
    id: 'MeasuredEncryption',
    description: 'LUKS key slots take place in the file; the old AES scheme takes none',
  });

export const MeasureOptions = z
  .strictObject({ ...formatOptions, dataFile: DataFileChoice.optional(), encryption: MeasuredEncryption.optional() })
  .meta({
    id: 'MeasureOptions',
    description: 'What the file would be made with; defaults are those of qemu-img create',
  });

export const MeasureImage = z
  .strictObject({
    virtualSize: Size.optional().meta({ description: 'A new disk of so many bytes', examples: [10737418240] }),
    image: ImageKey.optional().meta({ description: 'A copy of this image with all below it, by id or name' }),
    snapshot: SnapshotKey.optional().meta({ description: 'A copy of this snapshot of `image`, at its own size' }),
    options: MeasureOptions.prefault({}),
  })
  .refine((body) => (body.virtualSize === undefined) !== (body.image === undefined), {
    path: ['virtualSize'],
    error: 'say either `virtualSize` or `image`',
  })
  .refine((body) => body.snapshot === undefined || body.image !== undefined, {
    path: ['snapshot'],
    error: 'needs `image`',
  })
  .meta({ id: 'MeasureImage' });

export const MeasuredSize = z
  .object({
    required: Size.meta({ description: 'Bytes of the file with the data that there is now; at most' }),
    fullyAllocated: Size.meta({ description: 'Bytes of the file when the guest has written everything' }),
    bitmaps: Size.optional().meta({
      description: 'What the persistent bitmaps of the image would add; left out without an image or with compat 0.10',
    }),
  })
  .meta({ id: 'MeasuredSize', description: 'What `qemu-img measure -O qcow2` tells, in camelCase' });
