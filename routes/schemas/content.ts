// What images hold, on the wire: spans to zero and discard, flushes, extents, and the queries of the data routes.

import { z } from 'zod';

import type { ExtentItem as ItemValue } from '../../src/services/services.ts';
import { Cursor, Limit, QueryFlag, QuerySize, Size, SnapshotKey } from './common.ts';

export const ReadQuery = z.strictObject({
  generation: QuerySize.optional().meta({ description: '412 when the content is of another generation' }),
});

export const WriteQuery = z.strictObject({
  generation: QuerySize.optional().meta({ description: '412 when the content is of another generation' }),
  flush: QueryFlag.optional().meta({ description: '`false` answers before the bytes are durable' }),
  detectZeroes: QueryFlag.optional().meta({ description: 'Runs of zeroes become zero clusters' }),
  compress: QueryFlag.optional().meta({ description: 'Clusters are stored compressed; only for whole clusters' }),
});

export const ZeroSpan = z
  .strictObject({
    offset: Size,
    length: Size,
    unmap: z.boolean().default(true).meta({ description: 'Whether clusters may be given back' }),
    flush: z.boolean().default(true),
  })
  .meta({ id: 'ZeroSpan' });

export const DiscardSpan = z
  .strictObject({ offset: Size, length: Size, flush: z.boolean().default(true) })
  .meta({ id: 'DiscardSpan' });

export const FlushImage = z
  .strictObject({
    writeEpoch: z
      .string()
      .max(256)
      .optional()
      .meta({ description: 'The Write-Epoch of the changes that must still be there' }),
  })
  .meta({ id: 'FlushImage' });

const extentsQuery = {
  offset: QuerySize.optional().meta({ description: 'From here on; 0 when left out' }),
  length: QuerySize.optional().meta({ description: 'To the end when left out' }),
  limit: Limit.meta({ description: 'At most so many items in a page; a stream of lines has no pages' }),
  cursor: Cursor,
  layer: z.enum(['all', 'top']).default('all').meta({ description: '`top`: only what this image itself holds' }),
  hostOffset: QueryFlag.optional().meta({ description: 'Tell host offsets, and split extents where they jump' }),
};

export const ExtentsQuery = z.strictObject({
  ...extentsQuery,
  snapshot: SnapshotKey.optional().meta({ description: 'The map of this snapshot' }),
});
export const SnapshotExtentsQuery = z.strictObject(extentsQuery);

export const Extent = z
  .object({
    offset: Size,
    length: Size,
    kind: z.enum(['data', 'zero', 'hole']).meta({ description: '`hole`: no layer has it; `zero`: present and zero' }),
    depth: Size.meta({ description: 'The layer that answers; 0 is the image itself' }),
    compressed: z.boolean(),
    preallocated: z.boolean().optional(),
    hostOffset: Size.optional(),
  })
  .meta({ id: 'Extent' });

export const ExtentPage = z
  .object({
    virtualSize: Size,
    generation: Size,
    items: z.array(Extent).meta({ description: 'Sorted, without gaps, merged' }),
    nextCursor: z.string().nullable(),
  })
  .meta({ id: 'ExtentPage' });

/** The map as a stream: the document has no word for it, so it is text. */
export const ExtentLines = z.string().meta({ id: 'ExtentLines', description: 'One Extent as JSON on each line' });

/** An extent as the wire has it. */
export function printExtent(item: ItemValue): z.input<typeof Extent> {
  return { ...item };
}
