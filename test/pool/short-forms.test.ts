import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import type { Answer, Message, RequestBody } from '../../src/pool/messages.ts';
import { fullAnswer, fullMessage, shortAnswer, shortMessage } from '../../src/pool/short-forms.ts';

type Call = Extract<RequestBody, { kind: 'call' }>;

const read: Call = {
  kind: 'call',
  image: 3,
  call: { name: 'read', args: { offset: 2 ** 52, length: 4096 } },
  into: undefined,
  epoch: undefined,
  keys: undefined,
};
const bytes = Uint8Array.of(1, 2, 3);

describe('what crosses over to a thread arrives as it was sent', () => {
  const messages: readonly Message[] = [
    { id: 1, body: read },
    { id: 2, body: { ...read, call: { name: 'read', args: { offset: 0, length: 1, digest: true } } } },
    { id: 3, body: { ...read, into: new ArrayBuffer(4096) } },
    { id: 4, body: { ...read, epoch: 7 } },
    { id: 5, body: { ...read, keys: new Map([['/images/a', bytes]]) } },
    { id: 6, body: { ...read, call: { name: 'write', args: { offset: 0, bytes, detectZeroes: false } } } },
    { id: 7, body: { ...read, call: { name: 'readSnapshot', args: { snapshot: '1', offset: 0, length: 1 } } } },
    { id: 8, body: { kind: 'cancel' } },
    { id: 9, body: { kind: 'close', image: 3 } },
    { id: 10, body: { ...read, patient: true } },
    { id: 11, body: { ...read, patient: true, call: { name: 'read', args: { offset: 0, length: 1, digest: true } } } },
  ];
  for (const message of messages) {
    test(`request ${message.id}`, () => {
      assert.deepEqual(fullMessage(structuredClone(shortMessage(message))), message);
    });
  }

  const answers: readonly Extract<Answer, { kind: 'result' | 'fault' | 'cancelled' }>[] = [
    { kind: 'result', id: 1, result: { bytes, generation: 2 ** 50 } },
    { kind: 'result', id: 2, result: { bytes, sha256: 'x', generation: 1 } },
    { kind: 'result', id: 3, result: { bytes } },
    { kind: 'result', id: 4, result: { generation: 1 } },
    { kind: 'result', id: 5, result: undefined },
    { kind: 'result', id: 6, result: null },
    { kind: 'result', id: 9, result: { bytes, generation: 1, other: 2 } },
    { kind: 'result', id: 10, result: { bytes, generation: 1, sha256: 'x', other: 2 } },
    { kind: 'fault', id: 7, code: 'engine-busy', context: {} },
    { kind: 'cancelled', id: 8 },
  ];
  for (const answer of answers) {
    test(`answer ${answer.id}`, () => {
      assert.deepEqual(fullAnswer(structuredClone(shortAnswer(answer))), answer);
    });
  }

  test('a plain read and its bytes as lists', () => {
    assert.deepEqual(shortMessage({ id: 1, body: read }), [1, 3, 2 ** 52, 4096]);
    const summed: Call = { ...read, call: { name: 'read', args: { offset: 0, length: 1, digest: true } } };
    assert.deepEqual(shortMessage({ id: 1, body: summed }), [1, 3, 0, 1, true]);
    assert.deepEqual(shortAnswer({ kind: 'result', id: 1, result: { bytes, generation: 5 } }), [1, bytes, 5]);
    const result = { bytes, generation: 5, sha256: 'x' };
    assert.deepEqual(shortAnswer({ kind: 'result', id: 1, result }), [1, bytes, 5, 'x']);
  });
});
