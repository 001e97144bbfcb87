// The model of leases refuses what must not happen, so that the histories that it lets pass say something.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import type { Ask, HistoryEvent, Operation, Outcome } from './lease-history.ts';
import { judgeHistory } from './lease-model.ts';

const exclusive: Ask = { kind: 'acquire', mode: 'exclusive', ttlMs: 10_000 };
const shared: Ask = { kind: 'acquire', mode: 'shared', ttlMs: 10_000 };
const ok: Outcome = { kind: 'ok' };
const locked: Outcome = { kind: 'locked' };
const restart: HistoryEvent = { kind: 'restart', how: 'killed' };

let lastId = 0;

function operation(ask: Ask, outcome: Outcome): Operation {
  lastId += 1;
  return { id: lastId, client: 0, ask, outcome };
}

/** From begin to end without anything in between. */
function done(ask: Ask, outcome: Outcome): readonly HistoryEvent[] {
  const one = operation(ask, outcome);
  const applied = ask.kind === 'use' && ask.how === 'write' && outcome.kind === 'ok';
  return [begin(one), ...(applied ? [{ kind: 'applied', operation: one } as const] : []), end(one)];
}

function begin(one: Operation): HistoryEvent {
  return { kind: 'begin', operation: one };
}

function end(one: Operation): HistoryEvent {
  return { kind: 'end', operation: one };
}

function granted(lease: string, token: number): Outcome {
  return { kind: 'granted', lease, token };
}

function write(lease?: string, token?: number): Ask {
  const claim = { ...(lease === undefined ? {} : { lease }), ...(token === undefined ? {} : { token }) };
  return { kind: 'use', how: 'write', claim };
}

function advance(ms: number): HistoryEvent {
  return { kind: 'advance', ms };
}

const a1 = done(exclusive, granted('a', 1));

describe('a history that could have happened', () => {
  const slow = operation(write('a', 1), ok);
  const early = operation(write(), ok);
  const acquiring = operation(exclusive, granted('a', 1));
  const cases: Readonly<Record<string, readonly HistoryEvent[]>> = {
    'a lease, its use, its end and the next one': [
      ...a1,
      ...done(write('a', 1), ok),
      ...done(write(), locked),
      advance(10_000),
      ...done(write(), ok),
      ...done(write('a', 1), { kind: 'lost' }),
      ...done(exclusive, granted('b', 2)),
      ...done(write(undefined, 1), locked),
    ],
    'a use that renews': [...a1, advance(9_999), ...done(write('a'), ok), advance(9_999), ...done(write(), locked)],
    'a full period after a restart': [...a1, advance(9_999), restart, advance(9_999), ...done(exclusive, locked)],
    'a change that happened before its lease ended': [
      ...a1,
      begin(slow),
      advance(20_000),
      { kind: 'applied', operation: slow },
      end(slow),
    ],
    'an answer that a crash has swallowed': [
      begin(operation(exclusive, { kind: 'unknown' })),
      restart,
      ...done(exclusive, locked),
      advance(10_000),
      ...done(exclusive, granted('b', 2)),
    ],
    'a change that was let in before a lease was granted, and happens before that is answered': [
      begin(early),
      begin(acquiring),
      ...done(write(), locked),
      { kind: 'applied', operation: early },
      end(acquiring),
      end(early),
    ],
    'shared leases beside each other': [
      ...done(shared, granted('s', 0)),
      ...done(shared, granted('t', 0)),
      ...done(write('s'), locked),
    ],
  };
  for (const [name, events] of Object.entries(cases)) {
    it(name, () => {
      assert.equal(judgeHistory(events), undefined);
    });
  }
});

describe('a history that cannot have happened', () => {
  const slow = operation(write('a', 1), ok);
  const applied: HistoryEvent = { kind: 'applied', operation: slow };
  const refused = operation(write(), locked);
  const slow0 = operation(write(), ok);
  const cases: Readonly<Record<string, readonly HistoryEvent[]>> = {
    'two holders': [...a1, ...done(exclusive, granted('b', 2))],
    'two holders after a restart': [...a1, restart, advance(9_999), ...done(exclusive, granted('b', 2))],
    'a token twice': [...a1, ...done({ kind: 'release', lease: 'a' }, ok), ...done(exclusive, granted('b', 1))],
    'a token twice, over a restart': [
      ...a1,
      advance(10_000),
      restart,
      advance(10_000),
      ...done(exclusive, granted('b', 1)),
    ],
    'a change with an old token': [
      ...a1,
      advance(10_000),
      ...done(exclusive, granted('b', 2)),
      ...done(write('a', 1), ok),
    ],
    'a change with an old token while nobody holds': [
      ...a1,
      ...done({ kind: 'release', lease: 'a' }, ok),
      ...done(exclusive, granted('b', 2)),
      ...done({ kind: 'release', lease: 'b' }, ok),
      ...done(write(undefined, 1), ok),
    ],
    'a change behind the back of the next holder': [
      ...a1,
      begin(slow),
      advance(10_000),
      ...done(exclusive, granted('b', 2)),
      applied,
    ],
    'a change that was let in before a lease was granted, and happens after that was answered': [
      begin(slow0),
      ...a1,
      { kind: 'applied', operation: slow0 },
    ],
    'a change after its lease was given back': [
      ...a1,
      begin(slow),
      ...done({ kind: 'release', lease: 'a' }, ok),
      applied,
      end(slow),
    ],
    'a change after one that stood on the end of its lease': [
      ...a1,
      begin(slow),
      advance(10_000),
      ...done(write(), ok),
      applied,
      end(slow),
    ],
    'a lease that comes back': [...a1, advance(10_000), ...done(write(), ok), restart, ...done(write('a', 1), ok)],
    'a lease that ends too early': [...a1, advance(9_999), ...done(write('a'), { kind: 'lost' })],
    'a lease that never ends': [...a1, advance(10_000), ...done(write(), locked)],
    'a change under a shared lease': [...done(shared, granted('s', 0)), ...done(write('s'), ok)],
    'a change that was refused and has happened': [...a1, begin(refused), { kind: 'applied', operation: refused }],
    'a break that does not break': [...a1, ...done({ kind: 'break', graceMs: 0 }, ok), ...done(write('a'), ok)],
  };
  for (const [name, events] of Object.entries(cases)) {
    it(name, () => {
      assert.notEqual(judgeHistory(events), undefined);
    });
  }
});
