import assert from 'node:assert/strict';
import { test } from 'node:test';

import fc from 'fast-check';

import { PendingTable } from '../../src/pool/pending-table.ts';

test('keeps what waits like a map does, whatever comes and goes in which order', () => {
  const steps = fc.array(fc.record({ kind: fc.constantFrom('add', 'add', 'take', 'ask', 'skip'), at: fc.nat() }), {
    maxLength: 600,
  });
  fc.assert(
    fc.property(steps, (taken) => {
      const table = new PendingTable<string>();
      const model = new Map<number, string>();
      const given = [0];
      for (const [count, { kind, at }] of taken.entries()) {
        const id = given[at % given.length] ?? 0;
        if (kind === 'add') {
          const item = `item ${count}`;
          const added = table.add(item);
          assert.ok(added > (given.at(-1) ?? 0), 'ids grow');
          given.push(added);
          model.set(added, item);
        } else if (kind === 'take') {
          assert.equal(table.take(id), model.get(id));
          model.delete(id);
        } else if (kind === 'skip') {
          given.push(table.newId());
        } else {
          assert.equal(table.get(id), model.get(id));
        }
        assert.equal(table.size, model.size);
      }
      assert.deepEqual(table.ids, [...model.keys()]);
    }),
  );
});

test('grows when everything waits, and passes over what waits for long', () => {
  const table = new PendingTable<number>();
  const ids = Array.from({ length: 1000 }, (_, index) => table.add(index));
  assert.deepEqual(table.ids, ids);
  ids.slice(1).forEach((id, index) => assert.equal(table.take(id), index + 1));
  const [oldest = 0] = ids;
  for (let round = 0; round < 5000; round += 1) assert.equal(table.take(table.add(round)), round);
  assert.equal(table.get(oldest), 0);
  assert.equal(table.size, 1);
});
