import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { printDocument, readCommitted } from '../../openapi/export.ts';

interface Operation {
  readonly operationId?: string;
  readonly tags?: readonly string[];
  readonly summary?: string;
  readonly responses: Readonly<
    Record<string, { readonly content?: Readonly<Record<string, { readonly schema: object }>> }>
  >;
}

interface Document {
  readonly openapi: string;
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly tags: readonly { readonly name: string }[];
  readonly components: { readonly schemas: Readonly<Record<string, object>> };
}

const text = await printDocument();
const document = JSON.parse(text) as Document;
const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, operation]) => ({ where: `${method} ${path}`, operation })),
);

describe('the OpenAPI document', () => {
  test('is the one that is committed', () => {
    assert.equal(text, readCommitted(), 'run `npm run openapi` and commit openapi/openapi.json');
  });

  test('gives every operation a name of its own, one known tag, a summary and a problem response', () => {
    const names = operations.map(({ operation }) => operation.operationId);
    assert.equal(new Set(names).size, operations.length);
    const tags = document.tags.map(({ name }) => name);
    for (const { where, operation } of operations) {
      assert.match(operation.operationId ?? '', /^[a-z][A-Za-z]+$/, where);
      assert.equal(operation.tags?.length, 1, where);
      assert.ok(
        operation.tags.every((tag) => tags.includes(tag)),
        where,
      );
      assert.ok(operation.summary !== undefined, where);
      assert.deepEqual(
        operation.responses['default']?.content?.['application/problem+json']?.schema,
        { $ref: '#/components/schemas/Problem' },
        where,
      );
    }
  });

  test('knows every operation of the main job', () => {
    const names = operations.map(({ operation }) => operation.operationId);
    const wanted =
      'getLiveness getReadiness getOpenApi getServiceInfo createImage listImages getImage deleteImage resizeImage checkImage ' +
      'getImageInfo getChain readImageData writeImageData zeroImageData discardImageData flushImage listExtents createSnapshot ' +
      'listSnapshots getSnapshot deleteSnapshot revertSnapshot readSnapshotData listSnapshotExtents importImage exportImage';
    assert.deepEqual(
      wanted.split(' ').filter((name) => !names.includes(name)),
      [],
    );
  });

  test('says nothing of HEAD, and has no anonymous object in a body', () => {
    for (const [path, methods] of Object.entries(document.paths)) assert.ok(!('head' in methods), path);
    for (const { where, operation } of operations) {
      for (const [status, response] of Object.entries(operation.responses)) {
        for (const { schema } of Object.values(response.content ?? {})) {
          const named = 'oneOf' in schema ? (schema.oneOf as readonly object[]) : [schema];
          for (const each of named) {
            assert.ok('$ref' in each || ('type' in each && each.type === 'string'), `${where} ${status}`);
          }
        }
      }
    }
  });

  test('tells the problems and headers of every operation', () => {
    for (const { where, operation } of operations) {
      assert.ok('400' in operation.responses && '503' in operation.responses, `${where} has a row of its own`);
    }
  });

  test('leaves no mark of the library that made it', () => {
    assert.doesNotMatch(text, /x-fastify/);
  });
});
