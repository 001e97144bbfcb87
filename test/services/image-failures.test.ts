import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Fault } from '../../src/base/fault.ts';
import { leavesDoubts, leavesImageUnknown } from '../../src/services/image-failures.ts';

test('an image whose disk failed while it was moved is opened again, and verified first', () => {
  const lost = new Fault('engine-lost', { diskFailed: true });
  assert.equal(leavesImageUnknown(lost, { changes: false }), true);
  assert.equal(leavesDoubts(lost), true);
  assert.equal(leavesDoubts(new Fault('engine-lost', { diskFailed: false })), false);
});
