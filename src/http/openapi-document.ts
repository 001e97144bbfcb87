// Last touches to the OpenAPI document: what each operation takes, sends, meets and asks of its caller, and what the
// libraries that make it leave behind.

import type { Demand } from './authentication.ts';
import {
  everywhere,
  headerComponents,
  headerReferences,
  parameterReference,
  requestHeaderNames,
} from './document-headers.ts';
import type { AnswerHeader, RequestHeader } from './document-headers.ts';
import { problemAnswers, problemExamples, problemSchemas } from './document-problems.ts';
import type { ProblemMembers } from './document-problems.ts';
import type { WireCode } from './problem-texts.ts';

/** What an operation promises beside its parameters and bodies. */
export interface OperationContract {
  /** Headers that its requests may bring, beside those that its schema has. */
  readonly takes: readonly RequestHeader[];
  /** Headers that its answers carry, by status. */
  readonly sends: Readonly<Record<string, readonly AnswerHeader[]>>;
  /** Problems that it may meet, beside those that every operation may. */
  readonly problems: readonly WireCode[];
}

/** What the document needs to know beside what the libraries collect. */
export interface DocumentFacts {
  readonly demandOf: (operation: string | undefined) => Demand;
  readonly contractOf: (operation: string) => OperationContract | undefined;
  /** Problems that come with a header, whatever the operation. */
  readonly headerProblems: Readonly<Partial<Record<RequestHeader, readonly WireCode[]>>>;
  readonly problemMembers: ProblemMembers;
  /** Schemas that only members of problems refer to. */
  readonly problemMemberSchemas: Readonly<Record<string, object>>;
}

type Schema = Record<string, unknown>;

interface Parameter {
  readonly in?: string;
  readonly name?: string;
}

interface Answer {
  headers?: object;
  content?: Record<string, { schema?: Schema }>;
}

/** An operation, as far as it is touched. */
interface Operation {
  operationId?: string;
  parameters?: (Parameter | { readonly $ref: string })[];
  security?: readonly Readonly<Record<string, readonly string[]>>[];
  requestBody?: { required?: boolean; content?: Record<string, { schema?: Schema }> };
  responses?: Record<string, Answer | { readonly $ref: string }>;
}

interface Components {
  schemas?: Record<string, Schema>;
  parameters?: Record<string, object>;
  headers?: Record<string, object>;
  responses?: Record<string, object>;
  examples?: Record<string, object>;
}

interface Document {
  readonly paths?: Record<string, Record<string, Operation>>;
  components?: Components;
}

/** Where the library notes that a body may be left out. */
const optionalMark = 'x-fastify-zod-openapi-optional';

/**
 * Takes HEAD out (it is GET without the body; as an operation of its own it would be a method of an SDK under the name
 * of another one), says of bodies that may be left out that they are not required, and adds what `facts` know of each
 * operation. Changes the document in place.
 */
export function tidyDocument<Given extends object>(document: Given, facts: DocumentFacts): Given {
  const { paths = {}, components = {} } = document as Document;
  const shared = new Map<string, object>();
  for (const path of Object.values(paths)) {
    delete path['head'];
    for (const operation of Object.values(path)) {
      tidyBody(operation);
      const demand = facts.demandOf(operation.operationId);
      // Without tokens nothing is asked for: hence the empty alternative.
      operation.security = demand === 'free' ? [] : [{}, { token: [demand] }];
      const contract = facts.contractOf(operation.operationId ?? '');
      if (contract === undefined) continue;
      const headers = tidyHeaders(operation, contract);
      const codes = [...headers.flatMap((name) => facts.headerProblems[name] ?? []), ...contract.problems];
      addProblems(operation, { codes: demand === 'free' ? codes : ['unauthenticated', ...codes], shared });
    }
  }
  if (shared.size > 0) {
    const responses = Object.fromEntries([...shared].toSorted(([one], [other]) => (one < other ? -1 : 1)));
    const examples = problemExamples(facts.problemMembers);
    Object.assign(components, headerComponents(), { responses, examples });
    Object.assign(components.schemas ?? {}, facts.problemMemberSchemas, problemSchemas(facts.problemMembers));
    dropUnused(document, ['schemas', 'headers', 'parameters', 'examples']);
  }
  openAnswers(document);
  return document;
}

function tidyBody({ requestBody }: Operation): void {
  if (requestBody === undefined) return;
  for (const { schema } of Object.values(requestBody.content ?? {})) {
    if (schema?.[optionalMark] === true) requestBody.required = false;
    if (schema !== undefined) Reflect.deleteProperty(schema, optionalMark);
  }
}

/** Puts headers by reference, under their proper names, as schemas see them in lower case. Returns what requests may bring. */
function tidyHeaders(operation: Operation, { takes, sends }: OperationContract): readonly RequestHeader[] {
  const parameters = operation.parameters ?? [];
  const inSchema = parameters.flatMap((parameter) =>
    'in' in parameter && parameter.in === 'header' ? [parameter.name] : [],
  );
  const taken = requestHeaderNames.filter((name) => takes.includes(name) || inSchema.includes(name.toLowerCase()));
  const others = parameters.filter((parameter) => !('in' in parameter && parameter.in === 'header'));
  operation.parameters = [...others, ...[...taken, everywhere.takes].map(parameterReference)];
  for (const [status, answer] of Object.entries(operation.responses ?? {})) {
    if ('$ref' in answer) continue;
    answer.headers = headerReferences([everywhere.sends, ...(sends[status] ?? [])]);
  }
  return taken;
}

/** Puts the answers of problems beside the others; those that have a name become components. */
function addProblems(
  operation: Operation,
  options: {
    readonly codes: readonly WireCode[];
    readonly shared: Map<string, object>;
  },
): void {
  const { default: others, ...responses } = operation.responses ?? {};
  for (const { status, name, answer } of problemAnswers(options.codes)) {
    if (name !== undefined) options.shared.set(name, answer);
    responses[String(status)] = name === undefined ? answer : { $ref: `#/components/responses/${name}` };
  }
  operation.responses = { ...responses, ...(others === undefined ? {} : { default: others }) };
}

/** Takes out what nothing refers to. */
function dropUnused(document: Document, kinds: readonly ('schemas' | 'headers' | 'parameters' | 'examples')[]): void {
  const text = JSON.stringify(document);
  for (const kind of kinds) {
    const components = document.components?.[kind] ?? {};
    for (const name of Object.keys(components)) {
      if (!text.includes(`"#/components/${kind}/${name}"`)) Reflect.deleteProperty(components, name);
    }
  }
}

/**
 * Lets schemas that only answers have grow: clients must bear members that they do not know. Those of requests stay
 * closed, as the service refuses what it does not know.
 */
function openAnswers({ paths = {}, components = {} }: Document): void {
  const { schemas = {} } = components;
  const closed = new Set<string>();
  const visit = (name: string): void => {
    if (closed.has(name)) return;
    closed.add(name);
    for (const next of referencesIn(schemas[name])) visit(next);
  };
  for (const { requestBody, parameters } of Object.values(paths).flatMap((path) => Object.values(path))) {
    for (const name of referencesIn([requestBody, parameters])) visit(name);
  }
  for (const [name, schema] of Object.entries(schemas)) if (!closed.has(name)) openSchema(schema);
}

const schemaReference = /"#\/components\/schemas\/([^"]+)"/g;

function referencesIn(part: unknown): readonly string[] {
  return Array.from(
    (JSON.stringify(part) as string | undefined)?.matchAll(schemaReference) ?? [],
    ([, name = '']) => name,
  );
}

function openSchema(part: unknown): void {
  if (typeof part !== 'object' || part === null) return;
  const { additionalProperties } = part as Schema;
  const saysLittle = typeof additionalProperties === 'object' && Object.keys(additionalProperties ?? {}).length === 0;
  if (additionalProperties === false || saysLittle) Reflect.deleteProperty(part, 'additionalProperties');
  for (const value of Object.values(part)) openSchema(value);
}
