import assert from 'node:assert/strict';
import { test } from 'node:test';

import { waitMsOf } from '../../src/http/preferences.ts';

test('a client waits five seconds unless it says otherwise', () => {
  const cases: readonly (readonly [string | undefined, number])[] = [
    [undefined, 5],
    ['', 5],
    ['wait=0', 0],
    ['wait=7', 7],
    ['WAIT = "7"; strictly', 7],
    ['wait=600', 60],
    ['respond-async', 0],
    ['Respond-Async, wait=3', 3],
    ['handling=lenient, respond-async', 0],
    ['wait=soon', 5],
    ['wait=-1', 5],
    ['return=minimal', 5],
    ['respond-asynchronously', 5],
  ];
  for (const [prefer, seconds] of cases) {
    assert.equal(waitMsOf(prefer === undefined ? {} : { prefer }), seconds * 1000, String(prefer));
  }
});
