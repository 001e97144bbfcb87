// Problems on the wire, and the responses that every operation has in common.

import { z } from 'zod';

import { problemMediaType } from '../../src/http/problem.ts';
import { Bytes } from './common.ts';

export const RequestError = z
  .object({
    pointer: z.string().meta({ description: 'A JSON pointer to the value' }),
    in: z.enum(['body', 'query', 'path', 'header', 'request']),
    message: z.string(),
  })
  .meta({ id: 'RequestError' });

export const Problem = z
  .looseObject({
    type: z.string().meta({ description: 'Where the problem is explained', examples: ['/problems/image-not-found'] }),
    title: z.string(),
    status: z.int().meta({ override: { type: 'integer', minimum: 400, maximum: 599 } }),
    detail: z.string().meta({ description: 'What happened and what to do next' }),
    instance: z.string().meta({ description: 'The path of the request' }),
    code: z.string().meta({ description: 'What programs branch on', examples: ['image-not-found'] }),
    requestId: z.string(),
    errors: z.array(RequestError).optional(),
  })
  .meta({ id: 'Problem', description: 'RFC 9457 problem details; other members follow by code' });

export const ProblemExplanation = z
  .object({ code: z.string(), status: z.int(), title: z.string(), cause: z.string(), cure: z.string() })
  .meta({ id: 'ProblemExplanation' });

export const ProblemParams = z.strictObject({
  code: z.string().meta({ description: 'The `code` of a problem', examples: ['image-not-found'] }),
});

export const ProblemTable = z.object({ items: z.array(ProblemExplanation) }).meta({ id: 'ProblemTable' });

/**
 * Every operation answers this when it fails. A new object for each: the document fills every response object in where
 * it first meets it.
 */
export function problemResponse(): ProblemResponse {
  return { default: { description: 'A problem', content: { [problemMediaType]: { schema: Problem } } } };
}

interface ProblemResponse {
  default: { description: string; content: { [problemMediaType]: { schema: typeof Problem } } };
}

export interface JsonResponse<Schema extends z.ZodType> {
  description: string;
  content: { 'application/json': { schema: Schema } };
}

/** A JSON answer for the document and the serializer. */
export function json<Schema extends z.ZodType>(description: string, schema: Schema): JsonResponse<Schema> {
  return { description, content: { 'application/json': { schema } } };
}

/** A request body of bytes. */
export const bytesBody = {
  description: 'Bytes, of any Content-Type but multipart/form-data',
  content: { 'application/octet-stream': { schema: Bytes } },
};

/** All bytes, a part of them, or none because the client has them. `mediaTypes` are those that whole bytes may have. */
export function bytesResponses(mediaTypes: readonly string[] = [bytesMediaType]): BytesResponses {
  const content = Object.fromEntries(mediaTypes.map((type) => [type, { schema: Bytes }]));
  return {
    200: { description: 'All bytes', content },
    206: {
      description: 'The range asked for; several ranges are multipart/byteranges',
      content: { ...content, 'multipart/byteranges': { schema: Bytes } },
    },
    304: { description: 'The content is the one of If-None-Match' },
  };
}

export const bytesMediaType = 'application/octet-stream';

interface BytesResponse {
  description: string;
  content: Record<string, { schema: typeof Bytes }>;
}

interface BytesResponses {
  200: BytesResponse;
  206: BytesResponse;
  304: { description: string };
}
