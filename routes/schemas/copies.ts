// Copies and smaller files on the wire.

import { z } from 'zod';

import { ImageName, Size, SnapshotKey } from './common.ts';
import { NewEncryption } from './encryption.ts';
import { CompressionType, DataFileChoice } from './images.ts';

export const CopyImage = z
  .strictObject({
    name: ImageName,
    snapshot: SnapshotKey.optional().meta({ description: 'Copy this snapshot, by id or name; full copies only' }),
    clusterSize: Size.optional().meta({ description: 'That of the source when left out' }),
    compressionType: CompressionType.optional().meta({ description: 'That of the source when left out' }),
    compress: z.boolean().default(false).meta({ description: 'Store clusters compressed; full copies only' }),
    mode: z.enum(['full', 'linked']).default('full').meta({
      description: '`full`: a standalone image; `linked`: an overlay, which makes its source immutable',
    }),
    encryption: NewEncryption.optional().meta({
      description: 'How the copy is encrypted; left out it is not, whatever its source is',
    }),
    dataFile: DataFileChoice.optional().meta({
      description: 'The copy keeps its data in a file beside it; left out it does not, whatever its source does',
    }),
  })
  .meta({ id: 'CopyImage' });

export const CompactImage = z
  .strictObject({
    detectZeroes: z
      .boolean()
      .default(true)
      .meta({ description: 'Whether clusters that hold zeroes only are given up' }),
  })
  .meta({ id: 'CompactImage' });

export const CompactReport = z
  .object({ reclaimedBytes: Size.meta({ description: 'How many bytes fewer the file occupies' }) })
  .meta({ id: 'CompactReport' });
