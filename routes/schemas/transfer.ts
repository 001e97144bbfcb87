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
import { aesHasNone, encryptionQuery, luksMembers } from './encryption.ts';
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
  'compress',
  'dataFile',
  'dataFileRaw',
  'encryption',
] as const;

export const ImportQuery = z
  .strictObject({
    format: z.enum(['qcow2', 'raw']).default('qcow2').meta({ description: 'What the bytes are; it is never guessed' }),
    digest: z
      .string()
      .regex(/^sha256:[0-9a-fA-F]{64}$/, { error: 'a digest is sha256: and 64 hexadecimal digits' })
      .optional()
      .meta({ description: 'The SHA-256 of the file, `sha256:` and hexadecimal; another one is `digest-mismatch`' }),
    backing: ImageKey.optional().meta({ description: 'The image that the backing name in the file stands for' }),
    repair: z
      .enum(['leaks', 'all'])
      .optional()
      .meta({ description: 'qcow2: `all` mends corruptions first; leaks are always given back' }),
    clusterSize: QuerySize.optional().meta({ description: 'raw: of the new image, 65536 when left out' }),
    compat: Compat.optional().meta({ description: 'raw: the version of the new image' }),
    refcountBits: queryNumber({ min: 0, max: 1024 })
      .optional()
      .meta({ description: 'raw: the refcount width of the new image' }),
    lazyRefcounts: QueryFlag.optional().meta({ description: 'raw: whether refcounts may lag behind' }),
    extendedL2: QueryFlag.optional().meta({ description: 'raw: whether L2 entries have subclusters' }),
    compressionType: CompressionType.optional().meta({ description: 'raw: how clusters are packed' }),
    preallocation: Preallocation.optional().meta({ description: 'raw: what is allocated at once' }),
    compress: QueryFlag.optional().meta({ description: 'raw: store clusters compressed' }),
    dataFile: QueryFlag.optional().meta({ description: 'raw: keep the data in a file beside the image' }),
    dataFileRaw: QueryFlag.optional().meta({ description: 'raw: the data file reads as the disk by itself' }),
    ...encryptionQuery,
    description: Description.optional().meta({ description: 'The description of the new image' }),
    label: QueryNewLabels.optional().meta({ description: 'Labels of the new image, `key:value`' }),
  })
  .superRefine((query, context) => {
    const foreign = query.format === 'raw' ? qcow2Only : rawOnly;
    for (const key of foreign) {
      if (query[key] === undefined) continue;
      const message = `only for ${query.format === 'raw' ? 'qcow2' : 'raw'}`;
      context.addIssue({ code: 'custom', path: [key], message });
    }
    if (query.dataFileRaw === true && query.dataFile !== true) {
      context.addIssue({ code: 'custom', path: ['dataFileRaw'], message: 'only with dataFile' });
    }
    if (query.encryption === 'luks') return;
    for (const key of luksMembers) {
      if (query[key] === undefined) continue;
      const message = query.encryption === undefined ? 'only with encryption' : aesHasNone;
      context.addIssue({ code: 'custom', path: [key], message });
    }
  });

export const ExportQuery = z.strictObject({
  format: z.enum(['qcow2', 'raw']).default('qcow2').meta({ description: 'What the file is to be' }),
  snapshot: SnapshotKey.optional().meta({ description: 'The file of this snapshot, by id or name' }),
  layer: z.enum(['all', 'top']).default('all').meta({ description: '`top`: only what this image itself holds' }),
  compress: QueryFlag.optional().meta({
    description: 'qcow2: clusters are stored compressed. The file is made before the answer begins',
  }),
  generation: QuerySize.optional().meta({ description: '412 when the content is of another generation' }),
});
