import assert from 'node:assert/strict';
import { test } from 'node:test';

import { z } from 'zod';

import { Fault } from '../../src/base/fault.ts';
import { compileValidator } from '../../src/http/schema.ts';
import type { RequestError } from '../../src/http/schema.ts';

const Body = z.strictObject({
  name: z.string().min(1).max(8),
  size: z.int().min(1).max(64),
  ratio: z.number().optional(),
  mode: z.enum(['one', 'two']),
  on: z.boolean().optional(),
  items: z.array(z.string()).max(1).optional(),
  labels: z.record(z.string().regex(/^[a-z]+$/, { error: 'a label has small letters only' }), z.string()).optional(),
});
const right = { name: 'a', size: 1, mode: 'one' };

function messagesFor(value: unknown): readonly string[] {
  const schema = { schema: Body, httpPart: 'body', method: 'POST', url: '/' };
  const { error } = compileValidator(schema)(value) as { readonly error?: unknown };
  if (error === undefined) return [];
  assert.ok(error instanceof Fault);
  return (error.context['errors'] as readonly RequestError[]).map(({ pointer, message }) => `${pointer}: ${message}`);
}

test('a wrong value is told what it must be', () => {
  const wrong: readonly (readonly [change: object, message: string])[] = [
    [{ name: undefined }, '/name: is missing'],
    [{ name: 5 }, '/name: must be a text in quotes, not 5'],
    [{ name: ['a', 'b'] }, '/name: must be one value, not several'],
    [{ name: '' }, '/name: must have at least 1 character'],
    [{ name: 'x'.repeat(9) }, '/name: must have at most 8 characters'],
    [{ size: '1' }, '/size: must be a number without quotes, not a text in quotes'],
    [{ size: 1.5 }, '/size: must be a whole number, not 1.5'],
    [{ size: 0 }, '/size: must be at least 1'],
    [{ size: 65 }, '/size: must be at most 64'],
    [{ size: null }, '/size: must be a number without quotes, not null'],
    [{ mode: undefined }, '/mode: is missing: it must be one of "one", "two"'],
    [{ mode: 'three' }, '/mode: must be one of "one", "two"'],
    [{ mode: ['one', 'one'] }, '/mode: must be one of "one", "two", once'],
    [{ on: 'yes' }, '/on: must be true or false, not a text in quotes'],
    [{ items: {} }, '/items: must be a list in brackets, not an object'],
    [{ items: ['a', 'b'] }, '/items: must have at most 1 item'],
    [{ labels: ['a'] }, '/labels: must be an object in braces, not a list'],
    [{ labels: { A: 'x' } }, '/labels/A: cannot be called so: a label has small letters only'],
    [{ more: 1 }, '/more: no such member'],
  ];
  assert.deepEqual(messagesFor(right), []);
  for (const [change, message] of wrong) assert.deepEqual(messagesFor({ ...right, ...change }), [message]);
  assert.deepEqual(messagesFor(null), [': is missing']);
  assert.deepEqual(messagesFor([]), [': must be an object in braces, not a list']);
});
