import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import { BodyRoom, heldBytesMax } from '../../src/services/body-room.ts';
import type { BodyPlace } from '../../src/services/body-room.ts';
import { verifiedFirstMax } from '../../src/services/write-session.ts';
import { houseEngine } from '../support/service-engine.ts';
import { faultOf } from '../support/service-faults.ts';
import { bodyIn, newImage, openHouse, plainWrite } from '../support/service-house.ts';

describe('the room for bodies', () => {
  test('has places for so many bytes, and those that are given back are taken again', () => {
    const room = new BodyRoom({ bytesMax: 100, waitMs: 60_000 });
    const first = room.tryTake(60);
    assert.ok(first);
    assert.equal(room.tryTake(41), undefined);
    assert.ok(room.tryTake(40));
    first[Symbol.dispose]();
    assert.ok(room.tryTake(60));
  });

  test('gives places in the order in which they were asked for', async () => {
    const room = new BodyRoom({ bytesMax: 100, waitMs: 60_000 });
    const held = await room.take(80);
    const order: string[] = [];
    const note = async (name: string, place: Promise<BodyPlace>): Promise<BodyPlace> => {
      const taken = await place;
      order.push(name);
      return taken;
    };
    const large = note('large', room.take(100));
    const small = note('small', room.take(10));
    assert.equal(room.tryTake(1), undefined, 'nobody overtakes those who wait');
    held[Symbol.dispose]();
    (await large)[Symbol.dispose]();
    await small;
    assert.deepEqual(order, ['large', 'small']);
  });

  test('lets nobody wait for ever, and goes on with the next', async () => {
    const room = new BodyRoom({ bytesMax: 100, waitMs: 50 });
    await room.take(80);
    const large = assert.rejects(room.take(100), faultOf('engine-busy'));
    await sleep(20);
    const small = room.take(20);
    await large;
    await small;
  });
});

/** A body of which nothing ever comes; it ends when it is released. `asked` says whether somebody wanted any of it. */
function stuckBody() {
  const released = Promise.withResolvers<undefined>();
  const state = { asked: false, release: () => released.resolve(undefined) };
  async function* pieces(): AsyncGenerator<Uint8Array> {
    state.asked = true;
    await released.promise;
    yield new Uint8Array(0);
  }
  return { state, pieces: pieces() };
}

describe('clients that do not send what they announced', () => {
  test('hold no more than there is room for, and others write all the same', async () => {
    await using house = await openHouse({ engine: houseEngine });
    const { content, images } = house.services;
    await images.create(newImage({ name: 'vm1', virtualSize: verifiedFirstMax }));
    const write = async (length: number, body: AsyncIterable<Uint8Array>, sha256?: Uint8Array): Promise<void> => {
      using session = await content.openWrite('vm1', { signal: undefined });
      await session.write({ offset: 0, length }, body, { ...plainWrite, sha256 });
    };
    const count = heldBytesMax / verifiedFirstMax;
    const bodies = Array.from({ length: count + 1 }, stuckBody);
    const ends = bodies.map(({ pieces }) =>
      assert.rejects(write(verifiedFirstMax, pieces, new Uint8Array(32)), faultOf('content-range-mismatch')),
    );
    const askedCount = (): number => bodies.filter(({ state }) => state.asked).length;
    while (askedCount() < count) await sleep(1);
    // Longer than those that had a place took to ask.
    await sleep(100);
    assert.equal(askedCount(), count, 'the last one waits before anything of it is taken');

    const other = new Uint8Array(200_000).fill(9);
    await write(other.length, bodyIn(other, 100_000));
    using session = await content.openRead('vm1', { snapshot: undefined, signal: undefined });
    assert.deepEqual((await session.read({ offset: 0, length: other.length })).bytes, other);

    for (const { state } of bodies) state.release();
    await Promise.all(ends);
    assert.equal(askedCount(), count + 1, 'it gets the place of one that has ended');
  });
});
