// Images on the wire.

import { z } from 'zod';

import type { Image as ImageValue } from '../../src/services/services.ts';
import {
  Cursor,
  Description,
  ImageKey,
  ImageName,
  LabelKey,
  Labels,
  LabelValue,
  Limit,
  printTime,
  QueryLabels,
  Size,
  Time,
} from './common.ts';
import { KeySlotChange, NewEncryption } from './encryption.ts';
import { LeaseHolder, printHolder } from './leases.ts';

export const Preallocation = z.enum(['off', 'metadata', 'falloc', 'full']);
export const Compat = z.enum(['0.10', '1.1']);
export const CompressionType = z.enum(['zlib', 'zstd']);

export const ImageReference = z.object({ id: z.string(), name: z.string() }).meta({ id: 'ImageReference' });

export const ImageState = z.enum(['creating', 'importing', 'ready', 'detached', 'failed', 'deleting']);

export const Image = z
  .object({
    id: z.string().meta({ examples: ['img_0199bd6e-7c5e-7000-8000-4e1d2c3b4a59'] }),
    name: z.string(),
    description: z.string(),
    labels: z.record(z.string(), z.string()),
    protected: z.boolean().meta({ description: 'Whether it must not be deleted, nor shrunk' }),
    format: z.literal('qcow2'),
    state: ImageState,
    stateReason: z.string().optional().meta({ description: 'Why the image has failed' }),
    virtualSize: Size.nullable().meta({ description: 'What the guest sees, in bytes; null until the file exists' }),
    fileSize: Size.nullable(),
    allocatedSize: Size.nullable().meta({ description: 'Bytes that the file occupies' }),
    clusterSize: Size.nullable(),
    compat: Compat.nullable(),
    refcountBits: z.int().nullable(),
    compressionType: CompressionType.nullable(),
    extendedL2: z.boolean().nullable(),
    lazyRefcounts: z.boolean().nullable(),
    encrypted: z.boolean().nullable(),
    dirty: z.boolean().nullable(),
    corrupt: z.boolean().nullable(),
    backing: ImageReference.nullable(),
    dependentCount: Size,
    snapshotCount: Size.nullable(),
    bitmapCount: Size.nullable(),
    generation: Size.meta({ description: 'Grows with every change of guest data and never repeats' }),
    version: Size.meta({ description: 'Grows with every change of the metadata; its ETag' }),
    lease: LeaseHolder.nullable(),
    createdAt: Time,
    updatedAt: Time,
  })
  .meta({ id: 'Image' });

/** An image as the wire has it. */
export function printImage(image: ImageValue): z.input<typeof Image> {
  const { facts } = image;
  return {
    id: image.id,
    name: image.name,
    description: image.description,
    labels: { ...image.labels },
    protected: image.protected,
    format: 'qcow2',
    state: image.state,
    ...(image.stateReason === undefined ? {} : { stateReason: image.stateReason }),
    virtualSize: facts?.virtualSize ?? null,
    fileSize: facts?.fileSize ?? null,
    allocatedSize: facts?.allocatedSize ?? null,
    clusterSize: facts?.clusterSize ?? null,
    compat: facts?.compat ?? null,
    refcountBits: facts?.refcountBits ?? null,
    compressionType: facts?.compressionType ?? null,
    extendedL2: facts?.extendedL2 ?? null,
    lazyRefcounts: facts?.lazyRefcounts ?? null,
    encrypted: facts?.encrypted ?? null,
    dirty: facts?.dirty ?? null,
    corrupt: facts?.corrupt ?? null,
    backing: image.backing === undefined ? null : { id: image.backing.id, name: image.backing.name },
    dependentCount: image.dependentCount,
    snapshotCount: facts?.snapshotCount ?? null,
    bitmapCount: facts?.bitmapCount ?? null,
    generation: image.generation,
    version: image.version,
    lease: image.lease === undefined ? null : printHolder(image.lease),
    createdAt: printTime(image.createdAtMs),
    updatedAt: printTime(image.updatedAtMs),
  };
}

/** What the file of an image is made with, as qemu-img's create options have it. */
export const formatOptions = {
  clusterSize: Size.default(65_536),
  compat: Compat.default('1.1'),
  refcountBits: z.int().min(0).default(16),
  lazyRefcounts: z.boolean().default(false),
  extendedL2: z.boolean().default(false),
  compressionType: CompressionType.default('zlib'),
  preallocation: Preallocation.default('off'),
  backing: z
    .strictObject({ image: ImageKey })
    .optional()
    .meta({ id: 'BackingChoice', description: 'The image below, by id or name' }),
};

export const DataFileChoice = z
  .strictObject({
    raw: z.boolean().default(false).meta({ description: 'Whether the data file reads as the disk by itself' }),
  })
  .meta({
    id: 'DataFileChoice',
    description:
      'Keeps the data in a file beside the image file; such an image has no snapshots and no packed clusters',
  });

export const CreateImage = z
  .strictObject({
    name: ImageName,
    virtualSize: Size.optional().meta({
      description: 'In bytes, rounded up to 512. May be left out with `backing`',
      examples: [10737418240],
    }),
    ...formatOptions,
    dataFile: DataFileChoice.optional(),
    encryption: NewEncryption.optional(),
    description: Description.default(''),
    labels: Labels.default({}),
  })
  .refine((body) => body.virtualSize !== undefined || body.backing !== undefined, {
    path: ['virtualSize'],
    error: 'needed without `backing`',
  })
  .meta({ id: 'CreateImage', description: 'Defaults are those of qemu-img create' });

/** RFC 7396: what is left out stays, null takes a value back to what a new image has. */
export const UpdateImage = z
  .strictObject({
    name: ImageName.optional(),
    description: Description.nullable().optional(),
    labels: z
      .record(LabelKey, LabelValue.nullable())
      .nullable()
      .optional()
      .meta({
        description: 'Labels to set; null takes one away, or all of them',
        examples: [{ team: 'web', old: null }],
      }),
    protected: z.boolean().nullable().optional(),
  })
  .meta({ id: 'UpdateImage', description: 'A merge patch' });

export const ListImagesQuery = z.strictObject({
  limit: Limit,
  cursor: Cursor,
  name: z.string().optional().meta({ description: 'Only the image of this name' }),
  label: QueryLabels.optional().meta({ description: 'Only images with this label, `key:value`; several are AND' }),
  state: ImageState.optional().meta({ description: 'Only images in this state' }),
  backing: ImageKey.optional().meta({ description: 'Only images that are built on this one, by id or name' }),
});

export const ImagePage = z
  .object({ items: z.array(Image), nextCursor: z.string().nullable() })
  .meta({ id: 'ImagePage' });

export const ResizeImage = z
  .strictObject({
    virtualSize: Size.meta({ description: 'In bytes, rounded up to 512', examples: [21474836480] }),
    allowShrink: z.boolean().default(false),
    preallocation: Preallocation.default('off'),
  })
  .meta({ id: 'ResizeImage' });

export const AmendImage = z
  .strictObject({
    compat: Compat.optional().meta({ description: 'Version 2 (`0.10`) or 3 (`1.1`) of the format' }),
    refcountBits: z
      .int()
      .min(0)
      .optional()
      .meta({ description: '1, 2, 4, 8, 16, 32 or 64', examples: [16] }),
    lazyRefcounts: z.boolean().optional(),
    dataFileRaw: z.boolean().optional().meta({ description: 'Can only be given up' }),
    encryption: KeySlotChange.optional(),
  })
  .refine((body) => body.encryption === undefined || Object.keys(body).length === 1, {
    path: ['encryption'],
    error: 'key slots are changed by themselves',
  })
  .meta({ id: 'AmendImage', description: 'What is left out stays' });

export const ChainLayer = z
  .object({
    id: z.string(),
    name: z.string(),
    virtualSize: Size.nullable(),
    clusterSize: Size.nullable(),
    allocatedSize: Size.nullable(),
    encrypted: z.boolean().nullable(),
  })
  .meta({ id: 'ChainLayer' });

export const Chain = z.object({ layers: z.array(ChainLayer).meta({ description: 'Top first' }) }).meta({ id: 'Chain' });

/** A chain as the wire has it. */
export function printChain(chain: readonly ImageValue[]): z.input<typeof Chain> {
  return {
    layers: chain.map(({ id, name, facts }) => ({
      id,
      name,
      virtualSize: facts?.virtualSize ?? null,
      clusterSize: facts?.clusterSize ?? null,
      allocatedSize: facts?.allocatedSize ?? null,
      encrypted: facts?.encrypted ?? null,
    })),
  };
}
