// The queries of whole files that come in and go out.

import { z } from 'zod';

import {
  Description,
  ImageKey,
  ImageName,
  queryNumber,
  QueryFlag,
  QueryNewLabels,
  QuerySize,
  SnapshotKey,
} from './common.ts';
import { Compat, CompressionType, Preallocation } from './images.ts';

export const ImportParams = z.strictObject({ name: ImageName });

/** Options that only one of the two formats has. */
const qcow2Only = ['backing', 'repair'] as const;
const rawOnly = [
  'clusterSize',
  'compat',
  'refcountBits',
  'lazyRefcounts',
  'extendedL2',
  'compressionType',
  'preallocation',
] as const;

export const ImportQuery = z
  .strictObject({
    format: z.enum(['qcow2', 'raw']).default('qcow2').meta({ description: 'What the bytes are; it is never guessed' }),
    digest: z
      .string()
      .regex(/^sha256:[0-9a-fA-F]{64}$/, { error: 'a digest is sha256: and 64 hexadecimal digits' })
      .optional(),
    backing: ImageKey.optional().meta({ description: 'The image that the backing name in the file stands for' }),
    repair: z.enum(['leaks', 'all']).optional(),
    clusterSize: QuerySize.optional(),
    compat: Compat.optional(),
    refcountBits: queryNumber({ min: 0, max: 1024 }).optional(),
    lazyRefcounts: QueryFlag.optional(),
    extendedL2: QueryFlag.optional(),
    compressionType: CompressionType.optional(),
    preallocation: Preallocation.optional(),
    description: Description.optional(),
    label: QueryNewLabels.optional(),
  })
  .superRefine((query, context) => {
    const foreign = query.format === 'raw' ? qcow2Only : rawOnly;
    for (const key of foreign) {
      if (query[key] === undefined) continue;
      const message = `only for ${query.format === 'raw' ? 'qcow2' : 'raw'}`;
      context.addIssue({ code: 'custom', path: [key], message });
    }
  });

export const ExportQuery = z.strictObject({
  format: z.enum(['qcow2', 'raw']).default('qcow2'),
  snapshot: SnapshotKey.optional(),
  layer: z.enum(['all', 'top']).default('all').meta({ description: '`top`: only what this image itself holds' }),
  compress: QueryFlag.optional().meta({ description: 'Only `false` can be honoured' }),
  generation: QuerySize.optional().meta({ description: '412 when the content is of another generation' }),
});
