// Which image is moved when several busy ones share a thread while another thread has nothing to do.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { KiB } from '../../src/base/units.ts';
import { inlineCodecs } from '../../src/pool/codecs.ts';
import { InlinePool } from '../../src/pool/inline-pool.ts';
import { LaneBalance } from '../../src/pool/lane-balance.ts';
import { Lane } from '../../src/pool/lane.ts';
import { poolLimits } from '../../src/pool/limits.ts';
import { PinnedImage } from '../../src/pool/pinned-image.ts';
import { memoryEngine } from '../support/memory-image.ts';
import { bench, none } from '../support/pool-bench.ts';
import type { Bench } from '../support/pool-bench.ts';

/** A thread that never answers. */
function laneOf(): Lane {
  const nothing = (): void => undefined;
  return new Lane({
    connect: () => ({ send: nothing, end: async () => undefined }),
    limits: poolLimits,
    codecs: inlineCodecs,
    onNews: nothing,
    onDeath: nothing,
    onSilence: nothing,
  });
}

let lastNumber = 0;

function imageOn(lane: Lane): PinnedImage {
  lastNumber += 1;
  const pin = new PinnedImage({ imageId: `image ${lastNumber}`, number: lastNumber, lane });
  pin.isOpen = true;
  return pin;
}

describe('the balance of threads', () => {
  const [one, two] = [laneOf(), laneOf()];
  const lanes = [one, two];

  it('moves the least busy image of a thread that is crowded twice in a row', () => {
    const balance = new LaneBalance();
    const [busy, less, idle, other] = [imageOn(one), imageOn(one), imageOn(one), imageOn(two)];
    const pins = [busy, less, idle, other];
    const look = (asked: readonly number[]): ReturnType<LaneBalance['look']> => {
      for (const [index, pin] of pins.entries()) pin.requestCount += asked[index] ?? 0;
      return balance.look(lanes, pins);
    };
    assert.equal(look([1000, 100, 31, 31]), undefined, 'it may be over at once');
    assert.deepEqual(look([1000, 100, 31, 31]), { pin: less, to: two });
    assert.equal(look([1000, 0, 31, 31]), undefined, 'one busy image is no crowd');
    assert.equal(look([1000, 100, 31, 31]), undefined);
    assert.equal(look([1000, 100, 31, 32]), undefined, 'the other thread has something to do');
    assert.deepEqual(look([1000, 100, 31, 0]), { pin: less, to: two });
    less.seatOn(two);
    assert.equal(look([1000, 100, 0, 0]), undefined);
    assert.equal(look([1000, 100, 0, 0]), undefined, 'and so it stays');
  });

  it('leaves alone what works on something long, and moves its neighbour', () => {
    const balance = new LaneBalance();
    const [working, busy] = [imageOn(one), imageOn(one)];
    const run = { kind: 'run', image: 1, run: { name: 'check', args: {} }, epoch: undefined, keys: undefined } as const;
    void working.request(run, { signal: undefined, onProgress: undefined, buffer: undefined, bytes: 0 });
    assert.deepEqual([working.isAtWork, working.isMovable, busy.isMovable], [true, false, true]);
    busy.requestCount += 50;
    assert.equal(balance.look(lanes, [working, busy]), undefined);
    busy.requestCount += 50;
    assert.deepEqual(balance.look(lanes, [working, busy]), { pin: busy, to: two });
    busy.moving = Promise.resolve();
    busy.requestCount += 50;
    assert.equal(balance.look(lanes, [working, busy]), undefined, 'it is on its way already');
  });
});

describe('a pool whose threads have unequal work', { timeout: 60_000 }, () => {
  it('moves one of two busy images to the thread of the idle ones, once', async () => {
    await using at = (await bench(
      async (settings) =>
        new InlinePool({ ...settings, engine: memoryEngine, clock: () => performance.now(), lanes: 2 }),
      { limits: { balanceMs: 20 } },
    )) as Bench & { readonly pool: InlinePool };
    const names = ['busy', 'idle', 'too', 'as well'];
    const handles = [];
    for (const name of names) {
      await at.make(name, 64 * KiB);
      handles.push(await at.open(name, { writable: true }));
    }
    const [busy, , too] = handles;
    assert.ok(busy !== undefined && too !== undefined);
    while (at.pool.figures().imagesMoved === 0) {
      await Promise.all([busy, too].map((handle) => handle.call('read', { offset: 0, length: 1 }, none)));
    }
    const onFirst = await at.pool.relocate('busy', 0);
    const others = await at.pool.relocate('too', 0);
    assert.notEqual(onFirst, others, 'one of them was on the first thread, the other was not');
    assert.deepEqual(at.failures, []);
  });
});
