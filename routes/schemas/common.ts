// What several resources share on the wire: sizes, names, times, lists, and parameters.

import { z } from 'zod';

/** What a schema is in the document, instead of what it is made of here. */
function shownAs(shown: object): z.GlobalMeta {
  return {
    override: ({ jsonSchema }) => {
      const { description, examples } = jsonSchema;
      for (const key of Object.keys(jsonSchema)) Reflect.deleteProperty(jsonSchema, key);
      Object.assign(
        jsonSchema,
        shown,
        description === undefined ? {} : { description },
        examples === undefined ? {} : { examples },
      );
    },
  };
}

/** Bytes, offsets and counts. */
export const Size = z
  .int()
  .min(0)
  .meta(shownAs({ type: 'integer', format: 'int64', minimum: 0, maximum: Number.MAX_SAFE_INTEGER }));

/** An opaque 64-bit number in decimal. */
export const DecimalString = z.string().meta({ description: 'An opaque 64-bit number in decimal' });

/** RFC 3339 in UTC. */
export const Time = z.string().meta(shownAs({ type: 'string', format: 'date-time' }));

export const ImageName = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/, {
    error: 'a name has 1 to 128 of A-Z a-z 0-9 . _ - and starts with a letter or a digit',
  })
  .refine((name) => !name.startsWith('img_'), { error: 'a name does not start with img_, as ids do' })
  .meta({ description: 'A unique name', examples: ['vm1'] });

/** An id or a name. */
const imageKeyPattern = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;

export const ImageKey = z
  .string()
  .regex(imageKeyPattern, { error: 'an image is named by its id (img_…) or its name' })
  .meta({ description: 'The id of an image (img_…) or its name', examples: ['vm1'] });

/** Whether a path parameter can name an image at all: for routes that parse by hand. */
export function isImageKey(text: string): boolean {
  return imageKeyPattern.test(text);
}

export const SnapshotKey = z
  .string()
  .min(1)
  .max(1023)
  .meta({ description: 'The id of a snapshot in the file (a decimal number) or its name', examples: ['s1'] });

export const ImageParams = z.strictObject({ image: ImageKey });
export const SnapshotParams = z.strictObject({ image: ImageKey, snapshot: SnapshotKey });

export const LabelKey = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._/-]{0,62}$/, {
  error: 'a label has 1 to 63 of A-Z a-z 0-9 . _ / - and starts with a letter or a digit',
});

export const LabelValue = z.string().max(255);

export const Labels = z
  .record(LabelKey, LabelValue)
  .refine((labels) => Object.keys(labels).length <= labelsMax, { error: 'at most 64 labels' })
  .meta({ id: 'Labels', description: 'Key and value pairs of your own', examples: [{ team: 'web' }] });

const labelsMax = 64;

export const Description = z.string().max(4096);

/** A whole number in a query. */
export function queryNumber(bounds: { readonly min: number; readonly max: number }): z.ZodType<number, string> {
  return z
    .string()
    .regex(/^\d{1,16}$/, { error: 'must be a whole number in decimal' })
    .transform(Number)
    .pipe(z.int().min(bounds.min).max(bounds.max))
    .meta(shownAs({ type: 'integer', format: 'int64', minimum: bounds.min, maximum: bounds.max }));
}

/** A size in a query. */
export const QuerySize = queryNumber({ min: 0, max: Number.MAX_SAFE_INTEGER });

/** `true` or `false` in a query. */
export const QueryFlag = z
  .enum(['true', 'false'])
  .transform((text) => text === 'true')
  .meta(shownAs({ type: 'boolean' }));

export const limitMax = 1000;
export const limitDefault = 100;

export const Limit = queryNumber({ min: 1, max: limitMax })
  .optional()
  .meta({ description: `At most so many items; ${String(limitDefault)} when left out` });

export const Cursor = z.string().min(1).max(256).optional().meta({ description: '`nextCursor` of the page before' });

/** `label=key:value`, once or several times. */
export const QueryLabels = z
  .union([z.string(), z.array(z.string())])
  .transform((given) => (typeof given === 'string' ? [given] : given))
  .pipe(z.array(z.string().regex(/^[^:]+:/s, { error: 'a label filter is key:value' })))
  .transform((pairs) => pairs.map(splitLabel))
  .meta({
    description: '`key:value`; several are AND',
    ...shownAs({ type: 'array', items: { type: 'string' } }),
  });

/** `label=key:value` of something new: each key once, and as labels are. */
export const QueryNewLabels = QueryLabels.refine((pairs) => new Set(pairs.map(([key]) => key)).size === pairs.length, {
  error: 'a label is given once',
})
  .transform((pairs): Readonly<Record<string, string>> => Object.fromEntries(pairs))
  .pipe(Labels)
  .meta({
    description: '`key:value`, once or several times',
    ...shownAs({ type: 'array', items: { type: 'string' } }),
  });

function splitLabel(pair: string): readonly [string, string] {
  const colon = pair.indexOf(':');
  return [pair.slice(0, colon), pair.slice(colon + 1)];
}

/** Image bytes. */
export const Bytes = z.any().meta({ id: 'Bytes', ...shownAs({ type: 'string', format: 'binary' }) });

/** A time as the wire has it. */
export function printTime(ms: number): string {
  return new Date(ms).toISOString();
}
