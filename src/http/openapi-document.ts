// Last touches to the OpenAPI document, where the libraries that make it leave something behind.

import type { Demand } from './authentication.ts';

/** An operation, as far as it is touched. */
interface Operation {
  operationId?: string;
  security?: readonly Readonly<Record<string, readonly string[]>>[];
  requestBody?: { required?: boolean; content?: Record<string, { schema?: Record<string, unknown> }> };
}

/** Where the library notes that a body may be left out. */
const optionalMark = 'x-fastify-zod-openapi-optional';

/** What the document needs to know beside what the libraries collect. */
export interface DocumentFacts {
  readonly demandOf: (operation: string | undefined) => Demand;
}

/**
 * Says what each operation asks of its caller, takes HEAD out (it is GET without the body; as an operation of its own it would be a method of an SDK under the name
 * of another one), and says of bodies that may be left out that they are not required. Changes the document in place.
 */
export function tidyDocument<Document extends object>(document: Document, facts: DocumentFacts): Document {
  const { paths = {} } = document as { readonly paths?: Record<string, Record<string, Operation>> };
  for (const path of Object.values(paths)) {
    delete path['head'];
    for (const operation of Object.values(path)) {
      tidyBody(operation);
      const demand = facts.demandOf(operation.operationId);
      // Without tokens nothing is asked for: hence the empty alternative.
      operation.security = demand === 'free' ? [] : [{}, { token: [demand] }];
    }
  }
  return document;
}

function tidyBody({ requestBody }: Operation): void {
  if (requestBody === undefined) return;
  for (const { schema } of Object.values(requestBody.content ?? {})) {
    if (schema?.[optionalMark] === true) requestBody.required = false;
    if (schema !== undefined) Reflect.deleteProperty(schema, optionalMark);
  }
}
