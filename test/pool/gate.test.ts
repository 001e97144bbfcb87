import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { Gate } from '../../src/pool/gate.ts';
import type { GateEntry } from '../../src/pool/gate.ts';

const common = { overwrites: () => false, epoch: undefined };
const read = (id: number, deadlineMs = 100): GateEntry => ({ ...common, id, reads: true, deadlineMs });
const change = (id: number, deadlineMs = 100): GateEntry => ({ ...common, id, reads: false, deadlineMs });
const overwrite = (id: number): GateEntry => ({ ...change(id), overwrites: () => true });

function takeAll(gate: Gate<GateEntry>): number[] {
  const ids: number[] = [];
  for (let entry = gate.next(); entry !== undefined; entry = gate.next()) ids.push(entry.id);
  return ids;
}

describe('the gate of an image', () => {
  it('lets everything through while no run has the image', () => {
    const gate = new Gate<GateEntry>();
    assert.ok(gate.enter(read(1)));
    assert.ok(gate.enter(change(2)));
    assert.equal(gate.ready, false);
  });

  it('lets only reads through while a run admits reads', () => {
    const gate = new Gate<GateEntry>();
    gate.begin('reads');
    assert.equal(gate.enter(change(1)), false);
    assert.ok(gate.enter(read(2)));
    assert.equal(gate.ready, false);
  });

  it('lets reads and overwrites through while a run admits overwrites', () => {
    const gate = new Gate<GateEntry>();
    gate.begin('overwrites');
    assert.equal(gate.enter(change(1)), false);
    assert.ok(gate.enter(read(2)));
    assert.ok(gate.enter(overwrite(3)));
    gate.end();
    gate.begin('reads');
    assert.equal(gate.enter(overwrite(4)), false);
  });

  it('lets nothing through while a run admits nothing (ORD-18, T62)', () => {
    const gate = new Gate<GateEntry>();
    gate.begin('nothing');
    assert.equal(gate.enter(read(1)), false);
    assert.equal(gate.enter(change(2)), false);
    assert.equal(gate.ready, false);
    assert.equal(gate.next(), undefined);
  });

  it('hands out what waited in the order in which it came, and lets nobody pass', () => {
    const gate = new Gate<GateEntry>();
    gate.begin('nothing');
    for (const entry of [change(1), read(2), change(3)]) gate.enter(entry);
    gate.end();
    assert.equal(gate.enter(read(4)), false);
    assert.deepEqual(takeAll(gate), [1, 2, 3, 4]);
  });

  it('hands out waiting reads when the next run admits them', () => {
    const gate = new Gate<GateEntry>();
    gate.begin('nothing');
    for (const entry of [change(1), change(2), read(3), change(4), read(5)]) gate.enter(entry);
    gate.end();
    assert.equal(gate.next()?.id, 1);
    gate.begin('reads');
    assert.ok(gate.ready);
    assert.deepEqual(takeAll(gate), [3, 5]);
    gate.end();
    assert.deepEqual(takeAll(gate), [2, 4]);
  });

  it('gives up those whose time is over, and tells when the next one does', () => {
    const gate = new Gate<GateEntry>();
    gate.begin('nothing');
    for (const entry of [change(1, 30), change(2, Infinity), read(3, 20)]) gate.enter(entry);
    assert.equal(gate.deadlineMs, 20);
    assert.deepEqual(
      gate.expire(20).map(({ id }) => id),
      [3],
    );
    assert.equal(gate.deadlineMs, 30);
    assert.equal(gate.remove(1)?.id, 1);
    assert.equal(gate.remove(1), undefined);
    assert.equal(gate.deadlineMs, Infinity);
    assert.deepEqual(
      gate.drain().map(({ id }) => id),
      [2],
    );
  });
});
