import assert from 'node:assert/strict';
import { test } from 'node:test';

import { patienceOf } from '../../src/http/preferences.ts';

test('a client waits five seconds unless it says otherwise', () => {
  const cases: readonly (readonly [string | undefined, number, string?])[] = [
    [undefined, 5],
    ['', 5],
    ['wait=0', 0, 'wait=0'],
    ['wait=7', 7, 'wait=7'],
    ['WAIT = "7"; strictly', 7, 'wait=7'],
    ['wait=600', 60, 'wait=60'],
    ['respond-async', 0, 'respond-async'],
    ['Respond-Async, wait=3', 3, 'wait=3'],
    ['handling=lenient, respond-async', 0, 'respond-async'],
    ['wait=soon', 5],
    ['wait=-1', 5],
    ['return=minimal', 5],
    ['respond-asynchronously', 5],
  ];
  for (const [prefer, seconds, applied] of cases) {
    const patience = patienceOf(prefer === undefined ? {} : { prefer });
    assert.deepEqual(patience, { waitMs: seconds * 1000, applied }, String(prefer));
  }
});
