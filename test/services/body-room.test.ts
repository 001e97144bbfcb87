import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import { MiB } from '../../src/base/units.ts';
import { BodyRoom, heldBytesMax } from '../../src/services/body-room.ts';
import type { BodyPlace } from '../../src/services/body-room.ts';
import { verifiedFirstMax } from '../../src/services/write-session.ts';
import { houseEngine } from '../support/service-engine.ts';
import { faultOf } from '../support/service-faults.ts';
import { bodyIn, newImage, openHouse, plainWrite, readAll } from '../support/service-house.ts';

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

/** A body of which nothing comes before it is released; `asked` says whether somebody wanted any of it. */
function stuckBody(bytes: Uint8Array) {
  const released = Promise.withResolvers<undefined>();
  const state = { asked: false, release: () => released.resolve(undefined) };
  async function* pieces(): AsyncGenerator<Uint8Array> {
    state.asked = true;
    await released.promise;
    yield* bodyIn(bytes, MiB);
  }
  return { state, pieces: pieces() };
}

describe('clients that do not send what they announced', () => {
  test('hold no more than there is room for, and others write all the same', async () => {
    await using house = await openHouse({ engine: houseEngine });
    const { content, images } = house.services;
    await images.create(newImage({ name: 'vm1', virtualSize: verifiedFirstMax }));
    const bytes = new Uint8Array(verifiedFirstMax).fill(7);
    const sha256 = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
    const span = { offset: 0, length: bytes.length };
    const write = async (body: AsyncIterable<Uint8Array>, change: Partial<typeof plainWrite>): Promise<void> => {
      using session = await content.openWrite('vm1', { signal: undefined });
      await session.write(span, body, { ...plainWrite, ...change });
    };
    const count = heldBytesMax / verifiedFirstMax;
    const bodies = Array.from({ length: count + 1 }, () => stuckBody(bytes));
    const writes = bodies.map(({ pieces }) => write(pieces, { sha256 }));
    const askedCount = (): number => bodies.filter(({ state }) => state.asked).length;
    while (askedCount() < count) await sleep(1);
    // Longer than those that had a place took to ask.
    await sleep(100);
    assert.equal(askedCount(), count, 'the last one waits before anything of it is taken');

    const other = new Uint8Array(verifiedFirstMax).fill(9);
    await write(bodyIn(other, MiB), {});
    assert.deepEqual(await readAll(house.services, 'vm1'), Buffer.from(other));

    for (const { state } of bodies) state.release();
    await Promise.all(writes);
    assert.deepEqual(await readAll(house.services, 'vm1'), Buffer.from(bytes));
  });
});
