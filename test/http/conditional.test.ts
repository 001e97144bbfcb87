import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { Fault } from '../../src/base/fault.ts';
import { conditionsOf, judgeChange, judgeRead, rangeCounts } from '../../src/http/conditional.ts';
import type { Conditions } from '../../src/http/conditional.ts';

const state = { etag: '"img-7"', facts: { generation: 7 } };
const none = { generation: undefined };
const stale = (error: unknown): boolean => error instanceof Fault && error.code === 'precondition-failed';
const given = (headers: Record<string, string>): Conditions => conditionsOf(headers, none);

describe('the conditions of a request', () => {
  test('If-Match compares strongly', () => {
    assert.equal(judgeRead(given({ 'if-match': '"other", "img-7"' }), state), 'send');
    assert.equal(judgeRead(given({ 'if-match': '*' }), state), 'send');
    assert.throws(() => judgeRead(given({ 'if-match': '"img-6"' }), state), stale);
    assert.throws(() => judgeRead(given({ 'if-match': 'W/"img-7"' }), state), stale);
  });

  test('If-None-Match compares weakly', () => {
    assert.equal(judgeRead(given({ 'if-none-match': 'W/"img-7"' }), state), 'not-modified');
    assert.equal(judgeRead(given({ 'if-none-match': '*' }), state), 'not-modified');
    assert.equal(judgeRead(given({ 'if-none-match': '"img-6"' }), state), 'send');
    assert.throws(() => judgeChange(given({ 'if-none-match': '*' }), state), stale);
  });

  test('If-Match is judged before If-None-Match', () => {
    assert.throws(() => judgeRead(given({ 'if-match': '"x"', 'if-none-match': '"img-7"' }), state), stale);
  });

  test('a generation must be the current one', () => {
    assert.equal(judgeRead(conditionsOf({}, { generation: 7 }), state), 'send');
    assert.throws(() => judgeRead(conditionsOf({}, { generation: 6 }), state), stale);
  });

  test('If-Range lets the Range count only for the same content', () => {
    assert.equal(rangeCounts(given({ 'if-range': '"img-7"' }), state), true);
    assert.equal(rangeCounts(given({ 'if-range': '"img-6"' }), state), false);
    assert.equal(rangeCounts(given({ 'if-range': 'W/"img-7"' }), state), false);
    assert.equal(rangeCounts(given({}), state), true);
  });
});
