// The start of a pool: the first thread serves while the others still load; and its end, while somebody still has an image.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { inlineCodecs } from '../../src/pool/codecs.ts';
import { LanePool } from '../../src/pool/lane-pool.ts';
import type { Connect, ConnectionEvents } from '../../src/pool/lane.ts';
import { poolLimits } from '../../src/pool/limits.ts';
import type { Message } from '../../src/pool/messages.ts';
import { usual } from '../support/measure-spec.ts';
import { bench, none, startInline } from '../support/pool-bench.ts';

/** Stands for a thread: keeps what it is sent, and answers when the test says so. */
class FakeThread {
  readonly got: Message[] = [];
  #events: ConnectionEvents | undefined;

  get isStarted(): boolean {
    return this.#events !== undefined;
  }

  readonly connect: Connect = (events) => {
    this.#events = events;
    return { send: (messages) => void this.got.push(...messages), end: async () => undefined };
  };

  answerAll(): void {
    for (const { id } of this.got.splice(0)) this.#events?.receive([{ kind: 'result', id, result: {} }]);
  }

  die(): void {
    this.#events?.exit('it could not be loaded');
  }

  get kinds(): readonly string[] {
    return this.got.map(({ body }) => body.kind);
  }
}

class WokenPool extends LanePool {
  begin(): ReturnType<LanePool['wake']> {
    return this.wake();
  }
}

function poolOf(threads: readonly FakeThread[]): WokenPool {
  const connects = threads.map(({ connect }) => connect);
  return new WokenPool({
    imageIdleMs: 1000,
    limits: poolLimits,
    report: () => undefined,
    connects,
    codecs: inlineCodecs,
  });
}

const turn = (): Promise<void> => new Promise(setImmediate);

test('a thread is started when the one before is up, and gets work when it is up itself', async () => {
  const [one, two] = [new FakeThread(), new FakeThread()];
  const pool = poolOf([one, two]);
  const { first, all } = pool.begin();
  assert.deepEqual([one.kinds, two.isStarted], [['hello'], false]);
  one.answerAll();
  await first;
  await turn();
  assert.deepEqual(two.kinds, ['hello']);

  const options = { signal: undefined };
  const request = { spec: usual, virtualSize: 1 };
  const works = [pool.measure(request, options), pool.measure(request, options)];
  const ping = pool.ping();
  await turn();
  assert.deepEqual([one.kinds.toSorted(), two.kinds], [['hello', 'measure', 'measure'], ['hello']]);
  one.answerAll();
  await Promise.all([...works, ping]);

  two.answerAll();
  await all;
  works.push(pool.measure(request, options), pool.measure(request, options));
  await turn();
  assert.deepEqual([one.kinds, two.kinds], [['measure'], ['measure']]);
  one.answerAll();
  two.answerAll();
  await Promise.all(works);
  await pool.close();
});

test('a later thread that does not come up is told, and holds up nobody', async () => {
  const [one, two] = [new FakeThread(), new FakeThread()];
  const pool = poolOf([one, two]);
  const { first, all } = pool.begin();
  one.answerAll();
  await first;
  await turn();
  two.die();
  await assert.rejects(all, { code: 'engine-lost' });
  const ping = pool.ping();
  await turn();
  // From now on it counts as the others do: whoever asks starts it again.
  assert.deepEqual(two.kinds.at(-1), 'hello');
  one.answerAll();
  two.answerAll();
  await ping;
  await pool.close();
});

test('whoever asks something of an image that the closing pool closes is told that it closes', async () => {
  await using at = await bench(startInline, {});
  await at.make('one', 512);
  const handle = await at.open('one', { writable: true });
  const closed = at.pool.close();
  await assert.rejects(handle.call('flush', {}, none), { code: 'engine-lost', context: { reason: 'closed' } });
  await closed;
  handle.release();
  assert.deepEqual(at.failures, []);
});
