import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { describe, test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';

import { Fault } from '../../src/base/fault.ts';
import { KiB, MiB } from '../../src/base/units.ts';
import { chunkLengthMax } from '../../src/services/services.ts';
import { verifiedFirstMax } from '../../src/services/write-session.ts';
import { brakedEngine } from '../support/braked-service.ts';
import { Prng } from '../support/prng.ts';
import { houseEngine } from '../support/service-engine.ts';
import { faultOf } from '../support/service-faults.ts';
import {
  bodyIn,
  brokenBody,
  gather,
  newImage,
  openHouse,
  plainWrite,
  readAll,
  writeAt,
} from '../support/service-house.ts';
import type { ServiceHouse } from '../support/service-house.ts';

const engine = houseEngine;
const live = { snapshot: undefined, signal: undefined };

async function houseWith(virtualSize: number): Promise<ServiceHouse> {
  const house = await openHouse({ engine });
  await house.services.images.create(newImage({ name: 'vm1', virtualSize }));
  return house;
}

function sha256Of(bytes: Uint8Array): Buffer {
  return hash('sha256', bytes, 'buffer');
}

describe('reading', () => {
  test('gives the bytes in chunks of a bounded length', async () => {
    await using house = await houseWith(3 * MiB);
    const bytes = new Prng(1).bytes(3 * MiB);
    await writeAt(house.services, 'vm1', 0, bytes);
    using session = await house.services.content.openRead('vm1', live);
    assert.equal(session.size, 3 * MiB);
    assert.equal(session.snapshotId, undefined);
    const lengths: number[] = [];
    const span = { offset: 1000, length: 2 * MiB + 5 };
    for await (const chunk of session.chunks(span)) lengths.push(chunk.length);
    assert.ok(lengths.every((length) => length <= chunkLengthMax));
    const read = await gather(session.chunks(span));
    assert.ok(read.equals(bytes.subarray(1000, 1000 + span.length)), 'the bytes are those that were written');
    assert.equal((await gather(session.chunks({ offset: 0, length: 0 }))).length, 0);
  });

  test('tells the generation of the bytes, which grows with every change', async () => {
    await using house = await houseWith(MiB);
    const { content } = house.services;
    using session = await content.openRead('vm1', live);
    const before = await session.read({ offset: 0, length: 512 });
    assert.equal(before.generation, session.generation);
    await writeAt(house.services, 'vm1', 0, Buffer.from('new'));
    const after = await session.read({ offset: 0, length: 512 });
    assert.ok(after.generation > before.generation, 'the bytes are of another generation');
  });

  test('brings the SHA-256 of a chunk when it is asked for', async () => {
    await using house = await houseWith(MiB);
    const { content, snapshots } = house.services;
    const old = new Prng(2).bytes(5000);
    await writeAt(house.services, 'vm1', 0, old);
    await snapshots.create('vm1', { name: 'before' });
    await writeAt(house.services, 'vm1', 0, Buffer.from('new'));
    const span = { offset: 0, length: 5000 };
    for (const snapshot of [undefined, 'before']) {
      using session = await content.openRead('vm1', { ...live, snapshot });
      const { bytes, sha256 } = await session.read(span, { digest: true });
      assert.equal(sha256, sha256Of(bytes).toString('base64'));
      assert.equal(Buffer.from(bytes).equals(old), snapshot !== undefined);
      assert.equal((await session.read(span)).sha256, undefined);
    }
  });

  test('can stop in the middle', async () => {
    await using house = await houseWith(3 * MiB);
    using session = await house.services.content.openRead('vm1', live);
    for await (const chunk of session.chunks({ offset: 0, length: 3 * MiB })) {
      assert.equal(chunk.length, chunkLengthMax);
      break;
    }
  });

  test('drops what has not started when the signal is aborted', async () => {
    await using house = await houseWith(MiB);
    const { content } = house.services;
    const gone = new AbortController();
    using session = await content.openRead('vm1', { snapshot: undefined, signal: gone.signal });
    await session.read({ offset: 0, length: 512 });
    const reason = new Error('the client has gone');
    gone.abort(reason);
    await assert.rejects(session.read({ offset: 0, length: 512 }), reason);
    await assert.rejects(content.openRead('vm2', live), faultOf('image-not-found'));
  });
});

describe('writing', () => {
  test('puts a body of any pieces at any offset, and answers with the new generation', async () => {
    await using house = await houseWith(5 * MiB);
    const { content } = house.services;
    const bytes = new Prng(2).bytes(4 * MiB + 77);
    using session = await content.openWrite('vm1', { signal: undefined });
    const span = { offset: 12_345, length: bytes.length };
    const receipt = await session.write(span, bodyIn(bytes, 70_001), { ...plainWrite, bodyLength: bytes.length });
    assert.ok(receipt.generation > session.generation, 'the generation has grown');
    const read = await readAll(house.services, 'vm1');
    assert.ok(read.subarray(span.offset, span.offset + span.length).equals(bytes), 'the body is there');
    assert.equal(read[span.offset - 1], 0);
    assert.equal(read[span.offset + span.length], 0);
  });

  test('refuses a span that leaves the image before it takes a byte', async () => {
    await using house = await houseWith(MiB);
    using session = await house.services.content.openWrite('vm1', { signal: undefined });
    await assert.rejects(
      session.write({ offset: MiB - 10, length: 11 }, untouchable(), plainWrite),
      faultOf('range-not-satisfiable', { size: MiB }),
    );
  });

  test('refuses a body that announces another length before it takes a byte', async () => {
    await using house = await houseWith(MiB);
    using session = await house.services.content.openWrite('vm1', { signal: undefined });
    await assert.rejects(
      session.write({ offset: 0, length: 10 }, untouchable(), { ...plainWrite, bodyLength: 11 }),
      faultOf('content-range-mismatch', { expected: 10, received: 11, written: 0 }),
    );
  });

  test('tells how much of a body that ends early is there, and never writes beyond the span', async () => {
    await using house = await houseWith(4 * MiB);
    const { content } = house.services;
    const bytes = new Prng(3).bytes(3 * MiB);
    using session = await content.openWrite('vm1', { signal: undefined });
    const short = session.write({ offset: 0, length: 3 * MiB + 1 }, bodyIn(bytes, 60_000), plainWrite);
    await assert.rejects(
      short,
      faultOf('content-range-mismatch', { expected: 3 * MiB + 1, received: 3 * MiB, written: 3 * MiB }),
    );
    assert.ok((await readAll(house.services, 'vm1')).subarray(0, 3 * MiB).equals(bytes), 'the prefix is there');

    const long = session.write({ offset: 0, length: 1000 }, bodyIn(new Uint8Array(2000).fill(9), 700), plainWrite);
    await assert.rejects(long, faultOf('content-range-mismatch', { expected: 1000, written: 0 }));
    assert.ok((await readAll(house.services, 'vm1')).subarray(0, 3 * MiB).equals(bytes), 'nothing was overwritten');
  });

  test('tells how much of a body that breaks off is there', async () => {
    await using house = await houseWith(4 * MiB);
    using session = await house.services.content.openWrite('vm1', { signal: undefined });
    const bytes = new Prng(4).bytes(2 * MiB + 5);
    const span = { offset: 0, length: 4 * MiB };
    const timeout = new Fault('request-timeout', {});
    await assert.rejects(
      session.write(span, brokenBody(bytes, timeout), plainWrite),
      faultOf('request-timeout', { written: 2 * MiB }),
    );
    const reset = new Error('ECONNRESET');
    await assert.rejects(session.write(span, brokenBody(bytes, reset), plainWrite), reset);
    assert.ok((await readAll(house.services, 'vm1')).subarray(0, 2 * MiB).equals(bytes.subarray(0, 2 * MiB)));
  });

  test('verifies a short body before the first write', async () => {
    await using house = await houseWith(MiB);
    using session = await house.services.content.openWrite('vm1', { signal: undefined });
    const bytes = new Prng(5).bytes(1000);
    const span = { offset: 0, length: 1000 };
    await assert.rejects(
      session.write(span, bodyIn(bytes, 300), { ...plainWrite, sha256: sha256Of(Buffer.from('another')) }),
      faultOf('digest-mismatch', { written: 0 }),
    );
    assert.equal((await readAll(house.services, 'vm1'))[0], 0);
    await session.write(span, bodyIn(bytes, 300), { ...plainWrite, sha256: sha256Of(bytes) });
    assert.ok((await readAll(house.services, 'vm1')).subarray(0, 1000).equals(bytes));
  });

  test('verifies a long body while it writes', async () => {
    const length = verifiedFirstMax + 512;
    await using house = await houseWith(length);
    using session = await house.services.content.openWrite('vm1', { signal: undefined });
    const bytes = new Prng(6).bytes(length);
    const span = { offset: 0, length };
    await assert.rejects(
      session.write(span, bodyIn(bytes, MiB), { ...plainWrite, sha256: sha256Of(Buffer.from('another')) }),
      faultOf('digest-mismatch', { written: length }),
    );
    await session.write(span, bodyIn(bytes, MiB), { ...plainWrite, sha256: sha256Of(bytes) });
  });

  test('replaces everything with a body of the same length only', async () => {
    await using house = await houseWith(64 * KiB);
    using session = await house.services.content.openWrite('vm1', { signal: undefined });
    const bytes = new Prng(8).bytes(64 * KiB);
    await session.replace(bodyIn(bytes, 5000), plainWrite);
    assert.ok((await readAll(house.services, 'vm1')).equals(bytes));
    const sizes = { size: 64 * KiB };
    await assert.rejects(
      session.replace(untouchable(), { ...plainWrite, bodyLength: 64 * KiB + 1 }),
      faultOf('size-mismatch', { ...sizes, received: 64 * KiB + 1 }),
    );
    await assert.rejects(session.replace(bodyIn(bytes.subarray(1), 5000), plainWrite), faultOf('size-mismatch', sizes));
    const longer = Buffer.concat([bytes, bytes]);
    await assert.rejects(session.replace(bodyIn(longer, 5000), plainWrite), faultOf('size-mismatch', sizes));
  });

  test('of an image without a byte takes a body without a byte', async () => {
    await using house = await houseWith(0);
    using session = await house.services.content.openWrite('vm1', { signal: undefined });
    const receipt = await session.replace(bodyIn(new Uint8Array(0), 1), plainWrite);
    assert.equal(receipt.generation, session.generation);
  });
});

describe('zeroing and discarding', () => {
  test('makes zeroes', async () => {
    await using house = await houseWith(MiB);
    const { content } = house.services;
    await writeAt(house.services, 'vm1', 0, new Uint8Array(MiB).fill(7));
    const first = await content.zero('vm1', { offset: 100, length: 70_000, unmap: false, flush: true });
    const second = await content.zero('vm1', { offset: 200_000, length: 1, unmap: true, flush: false });
    assert.ok(second.generation > first.generation);
    const read = await readAll(house.services, 'vm1');
    assert.deepEqual([read[99], read[100], read[70_099], read[70_100]], [7, 0, 0, 7]);
    assert.deepEqual([read[199_999], read[200_000], read[200_001]], [7, 0, 7]);
  });

  test('takes whole clusters away', async () => {
    await using house = await houseWith(MiB);
    const { content } = house.services;
    await writeAt(house.services, 'vm1', 0, new Uint8Array(MiB).fill(7));
    await content.discard('vm1', { offset: 64 * KiB, length: 128 * KiB, flush: true });
    const read = await readAll(house.services, 'vm1');
    assert.deepEqual([read[64 * KiB - 1], read[64 * KiB], read[192 * KiB - 1], read[192 * KiB]], [7, 0, 0, 7]);
  });

  test('stays inside the image', async () => {
    await using house = await houseWith(MiB);
    const { content } = house.services;
    const outside = { offset: MiB, length: 1, flush: true };
    const refused = faultOf('range-not-satisfiable', { size: MiB });
    await assert.rejects(content.zero('vm1', { ...outside, unmap: true }), refused);
    await assert.rejects(content.discard('vm1', outside), refused);
    await content.zero('vm1', { offset: MiB, length: 0, unmap: true, flush: true });
  });
});

describe('a flush', () => {
  test('covers everything that was answered with the same write epoch', async () => {
    await using house = await houseWith(MiB);
    const { content } = house.services;
    using session = await content.openWrite('vm1', { signal: undefined });
    const body = bodyIn(Buffer.from('soon durable'), 100);
    const { writeEpoch } = await session.write({ offset: 0, length: 12 }, body, { ...plainWrite, flush: false });
    assert.equal((await content.flush('vm1', { writeEpoch })).writeEpoch, writeEpoch);
    assert.equal((await content.flush('vm1', { writeEpoch: undefined })).writeEpoch, writeEpoch);
    await assert.rejects(
      content.flush('vm1', { writeEpoch: 'of another process' }),
      faultOf('writes-lost', { writeEpoch }),
    );
  });

  test('of an image that nobody has open is nothing to do', async () => {
    await using house = await houseWith(MiB);
    const first = await house.services.content.flush('vm1', { writeEpoch: undefined });
    assert.deepEqual(await house.services.content.flush('vm1', { writeEpoch: first.writeEpoch }), first);
  });

  test('has another write epoch after a restart', async () => {
    const epochs: string[] = [];
    for (let life = 0; life < 2; life += 1) {
      await using house = await houseWith(MiB);
      epochs.push((await house.services.content.flush('vm1', { writeEpoch: undefined })).writeEpoch);
    }
    assert.notEqual(epochs[0], epochs[1]);
  });
});

describe('extents', () => {
  const whole = {
    snapshot: undefined,
    offset: 0,
    length: undefined,
    limit: 100,
    layer: 'all',
    hostOffsets: false,
  } as const;

  test('cover the span without a gap, and are cut at the end', async () => {
    await using house = await houseWith(MiB);
    const { content } = house.services;
    await writeAt(house.services, 'vm1', 128 * KiB, new Uint8Array(64 * KiB).fill(1));
    const page = await content.extents('vm1', { ...whole, offset: 64 * KiB, length: 10 * MiB });
    assert.equal(page.virtualSize, MiB);
    assert.equal(page.nextOffset, undefined);
    let at = 64 * KiB;
    for (const { offset, length } of page.items) {
      assert.equal(offset, at);
      at += length;
    }
    assert.equal(at, MiB);
    assert.ok(page.items.some(({ kind }) => kind === 'data'));
  });

  test('begin inside the image', async () => {
    await using house = await houseWith(MiB);
    const { content } = house.services;
    assert.deepEqual((await content.extents('vm1', { ...whole, offset: MiB })).items, []);
    await assert.rejects(
      content.extents('vm1', { ...whole, offset: MiB + 1 }),
      faultOf('range-not-satisfiable', { size: MiB }),
    );
    await assert.rejects(content.extents('vm1', { ...whole, snapshot: 's1' }), faultOf('snapshot-not-found'));
  });

  test('are those of the size that the image has by then', async () => {
    let [holds, isHeld] = [false, false];
    const brake = {
      get held() {
        return (isHeld = holds);
      },
    };
    await using house = await openHouse({ engine: brakedEngine(brake) });
    const { content, images } = house.services;
    await images.create(newImage({ name: 'vm1', virtualSize: 2 * MiB }));
    for (const virtualSize of [MiB, 3 * MiB]) {
      holds = true;
      const resize = images.resize('vm1', { virtualSize, allowShrink: true, preallocation: 'off' });
      while (!isHeld) await turn();
      const asked = content.extents('vm1', whole);
      for (let turns = 0; turns < 10; turns += 1) await turn();
      holds = false;
      const [page] = await Promise.all([asked, resize]);
      const end = page.items.reduce((sum, { length }) => sum + length, 0);
      assert.deepEqual([page.virtualSize, end], [virtualSize, virtualSize]);
    }
  });
});

/** A body of which nothing may be taken. */
async function* untouchable(): AsyncGenerator<Uint8Array> {
  assert.fail('the body is not touched');
  yield new Uint8Array(0);
}
