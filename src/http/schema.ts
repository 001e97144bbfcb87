// Zod as validator, serializer and OpenAPI source: the only file that knows which library joins it to Fastify.

import type {
  FastifyBaseLogger,
  FastifyInstance,
  FastifySchemaCompiler,
  RawReplyDefaultExpression,
  RawRequestDefaultExpression,
  RawServerDefault,
} from 'fastify';
import { createSerializerCompiler } from 'fastify-zod-openapi';
import type { FastifyZodOpenApiTypeProvider } from 'fastify-zod-openapi';
import { z } from 'zod';

import { Fault } from '../base/fault.ts';
import { explainIssue } from './value-rules.ts';

export { fastifyZodOpenApiPlugin, fastifyZodOpenApiTransformers } from 'fastify-zod-openapi';

/** A Fastify instance whose routes infer their types from zod schemas. */
export type App = FastifyInstance<
  RawServerDefault,
  RawRequestDefaultExpression,
  RawReplyDefaultExpression,
  FastifyBaseLogger,
  FastifyZodOpenApiTypeProvider
>;

/** One thing that is wrong with a request. */
export interface RequestError {
  /** A JSON pointer to the value, from the root of the body, the query or the path parameters. */
  readonly pointer: string;
  /** Which of them. */
  readonly in: 'body' | 'query' | 'path' | 'header' | 'request';
  readonly message: string;
}

type Compile = FastifySchemaCompiler<unknown>;

/** Parses with a zod schema; the error is the fault `invalid-request`, with a pointer for each issue. */
export const compileValidator: Compile = ({ schema, httpPart }) => {
  if (!(schema instanceof z.ZodType)) return (value: unknown) => ({ value });
  const place = placeOf(httpPart);
  return (value: unknown) => {
    // Fastify hands over null for a body that is not there.
    const result = schema.safeParse(place === 'body' && value === null ? undefined : value, inOurWords);
    return result.success ? { value: result.data } : { error: toFault(result.error, place) };
  };
};

/** Takes everything: for routes that parse by hand, whose schemas serve the documentation only. */
export const compileNoValidator: Compile = () => () => true;

/** JSON that ends with a newline. */
export const compileSerializer = createSerializerCompiler({
  stringify: (value) => `${JSON.stringify(value)}\n`,
});

/** Parses a query by hand with a schema. Faults `invalid-request`. */
export function parseQuery<Output>(schema: z.ZodType<Output>, query: unknown): Output {
  const result = schema.safeParse(query, inOurWords);
  if (result.success) return result.data;
  throw toFault(result.error, 'query');
}

const inOurWords = { error: explainIssue };

/** One fault about one value. */
export function invalidRequest(error: RequestError): Fault {
  return new Fault('invalid-request', { errors: [error] });
}

function placeOf(httpPart: string | undefined): RequestError['in'] {
  if (httpPart === 'querystring') return 'query';
  if (httpPart === 'params') return 'path';
  return httpPart === 'headers' ? 'header' : 'body';
}

function toFault(error: z.ZodError, place: RequestError['in']): Fault {
  const found = error.issues.flatMap((issue): readonly RequestError[] => {
    if (issue.code !== 'unrecognized_keys') {
      return [{ pointer: pointerTo(issue.path), in: place, message: issue.message }];
    }
    const message = place === 'query' ? 'no such query parameter' : 'no such member';
    return issue.keys.map((key) => ({ pointer: pointerTo([...issue.path, key]), in: place, message }));
  });
  // A value may break several rules; the last and narrowest of them says what to correct.
  const errors = [...new Map(found.map((item) => [item.pointer, item])).values()];
  return new Fault('invalid-request', { errors });
}

/** RFC 6901. */
export function pointerTo(path: readonly PropertyKey[]): string {
  return path.map((key) => `/${String(key).replaceAll('~', '~0').replaceAll('/', '~1')}`).join('');
}
