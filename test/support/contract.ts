// Holds answers against openapi/openapi.json: status, media type, body and headers of each must be documented.

import { Ajv2020 } from 'ajv/dist/2020.js';
import type { ValidateFunction } from 'ajv';
import formats from 'ajv-formats';

/** An answer as a client has it. */
export interface GivenAnswer {
  readonly method: string;
  /** Path and query as they were sent. */
  readonly path: string;
  readonly status: number;
  /** In lower case. */
  readonly headers: Readonly<Record<string, string | undefined>>;
  /** Bytes, or text, or undefined when there was none. */
  readonly body: Buffer | string | undefined;
}

interface Header {
  readonly required?: boolean;
  readonly schema: object;
}

interface Answer {
  readonly headers?: Readonly<Record<string, Header | Reference>>;
  readonly content?: Readonly<Record<string, { readonly schema: object }>>;
}

interface Reference {
  readonly $ref: string;
}

interface Operation {
  readonly operationId: string;
  readonly responses: Readonly<Record<string, Answer | Reference>>;
}

type Json = Record<string, unknown>;

/** A document that answers can be held against. */
export interface Contract {
  /** What is wrong with an answer; empty when it is as documented. */
  readonly judge: (answer: GivenAnswer) => readonly string[];
}

/** What no document speaks of: HTTP itself, and what belongs to the connection. */
const silentHeaders = new Set([
  'connection',
  'keep-alive',
  'date',
  'content-type',
  'content-length',
  'transfer-encoding',
]);
const jsonMediaTypes = new Set(['application/json', 'application/problem+json']);
/** What a path that is not in the document may be answered with: the refusals that come before the search for it. */
const codesOfNowhere = new Set([
  'route-not-found',
  'method-not-allowed',
  'invalid-request',
  'unauthenticated',
  'uri-too-long',
  'headers-too-large',
]);

/** Reads a document. Schemas of answers are made strict: a member that none of them names is an error. */
export function readContract(text: string): Contract {
  const document = JSON.parse(text) as Json & {
    readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  };
  const ajv = new Ajv2020({ strict: false, allErrors: true, discriminator: false, coerceTypes: false });
  formats.default(ajv);
  ajv.addFormat('int64', { type: 'number', validate: Number.isSafeInteger });
  ajv.addFormat('binary', true);
  ajv.addSchema(closeSchemas(document), 'document');
  const compiled = new Map<string, ValidateFunction>();

  const schemaErrors = (place: readonly string[], value: unknown): readonly string[] => {
    const pointer = place.map((part) => part.replaceAll('~', '~0').replaceAll('/', '~1')).join('/');
    const validate = compiled.get(pointer) ?? ajv.compile({ $ref: `document#/${encodeURI(pointer)}` });
    compiled.set(pointer, validate);
    if (validate(value)) return [];
    return (validate.errors ?? []).map(({ instancePath, message, params }) => {
      const facts = JSON.stringify(params);
      return `${instancePath === '' ? 'the body' : instancePath} ${message ?? ''} ${facts}`;
    });
  };

  const judgeHeaders = (place: readonly string[], answer: Answer, given: GivenAnswer): readonly string[] => {
    const documented = Object.entries(answer.headers ?? {}).map(([name, header]) => {
      const at = '$ref' in header ? placeOf(header.$ref) : [...place, 'headers', name];
      return { name: name.toLowerCase(), at, header: valueAt(document, at) as Header };
    });
    const names = new Set(documented.map(({ name }) => name));
    const unknown = Object.keys(given.headers).filter((name) => !silentHeaders.has(name) && !names.has(name));
    return [
      ...unknown.map((name) => `the header ${name} is not documented`),
      ...documented.flatMap(({ name, at, header }) => {
        const value = given.headers[name];
        if (value === undefined) return header.required === true ? [`the header ${name} is missing`] : [];
        const typed = (header.schema as { readonly type?: string }).type === 'integer' ? Number(value) : value;
        return schemaErrors([...at, 'schema'], typed).map((error) => `the header ${name}: ${error}`);
      }),
    ];
  };

  const judgeBody = (place: readonly string[], answer: Answer, given: GivenAnswer): readonly string[] => {
    const mediaType = given.headers['content-type']?.split(';')[0]?.trim();
    if (given.method === 'HEAD') return [];
    if (answer.content === undefined) return lengthOf(given.body) === 0 ? [] : ['a body came that is not documented'];
    if (mediaType === undefined || !(mediaType in answer.content)) {
      return [`the media type ${String(mediaType)} is not documented`];
    }
    if (!jsonMediaTypes.has(mediaType)) return [];
    return schemaErrors([...place, 'content', mediaType, 'schema'], parseBody(given.body));
  };

  const judge = (given: GivenAnswer): readonly string[] => {
    const found = findOperation(document.paths, given);
    if (found === undefined) return judgeNowhere(given);
    const { path, method, operation } = found;
    const response = operation.responses[String(given.status)];
    if (response === undefined) return [`${operation.operationId} does not document the status ${given.status}`];
    const place =
      '$ref' in response ? placeOf(response.$ref) : ['paths', path, method, 'responses', String(given.status)];
    const answer = valueAt(document, place) as Answer;
    return [...judgeHeaders(place, answer, given), ...judgeBody(place, answer, given)];
  };

  /** A problem all the same, of those that need no operation. */
  const judgeNowhere = (given: GivenAnswer): readonly string[] => {
    if (isOutside(given.path)) return [];
    if (given.headers['content-type'] !== 'application/problem+json') return ['an unknown path is answered otherwise'];
    if (given.method === 'HEAD') return [];
    const body = parseBody(given.body) as { readonly code: string };
    return [
      ...schemaErrors(['components', 'schemas', 'Problem'], body),
      ...(codesOfNowhere.has(body.code) ? [] : [`${body.code} is no problem of an unknown path`]),
    ];
  };

  return { judge };
}

/** Pages for people: not part of the interface. */
function isOutside(path: string): boolean {
  return /^\/docs(\/|$|\?)/.test(path);
}

function findOperation(
  paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>,
  { method, path }: GivenAnswer,
): { readonly path: string; readonly method: string; readonly operation: Operation } | undefined {
  const wanted = method === 'HEAD' ? 'get' : method.toLowerCase();
  const [bare = ''] = path.split(/[?#]/);
  const given = bare.split('/');
  const fitting = Object.entries(paths).filter(([pattern, methods]) => {
    const parts = pattern.split('/');
    const alike =
      parts.length === given.length &&
      parts.every((part, index) => (isVariable(part) ? given[index] !== '' : part === given[index]));
    return alike && wanted in methods;
  });
  // The one with the fewest variables is meant: /leases/break, not /leases/{lease}.
  const [best] = fitting.toSorted(([one], [other]) => variablesOf(one) - variablesOf(other));
  const operation = best?.[1][wanted];
  return best === undefined || operation === undefined ? undefined : { path: best[0], method: wanted, operation };
}

function isVariable(part: string): boolean {
  return part.startsWith('{');
}

function variablesOf(path: string): number {
  return path.split('/').filter(isVariable).length;
}

function lengthOf(body: Buffer | string | undefined): number {
  return body?.length ?? 0;
}

function parseBody(body: Buffer | string | undefined): unknown {
  return JSON.parse((body ?? '').toString()) as unknown;
}

function placeOf(reference: string): readonly string[] {
  return reference.replace('#/', '').split('/');
}

function valueAt(document: object, place: readonly string[]): unknown {
  return place.reduce<unknown>((value, key) => (value as Json)[key], document);
}

/**
 * A copy in which every object that names its members has no others. What `allOf` builds on stays open: the one that
 * builds on it closes both.
 */
function closeSchemas(document: Json): Json {
  const copy = structuredClone(document);
  const { schemas } = copy['components'] as { readonly schemas: Record<string, Json> };
  const bases = new Set<unknown>();
  for (const schema of Object.values(schemas)) {
    for (const part of (schema['allOf'] ?? []) as readonly Json[]) {
      bases.add(typeof part['$ref'] === 'string' ? valueAt(copy, placeOf(part['$ref'])) : part);
    }
  }
  const close = (part: unknown): void => {
    if (typeof part !== 'object' || part === null) return;
    const schema = part as Json;
    const isNamed =
      'allOf' in schema || (schema['type'] === 'object' && Object.keys(schema['properties'] ?? {}).length > 0);
    if (isNamed && !bases.has(schema) && !('additionalProperties' in schema)) schema['unevaluatedProperties'] = false;
    for (const [key, value] of Object.entries(schema)) if (key !== 'examples') close(value);
  };
  close(schemas);
  return copy;
}
