// Moves that fail, and threads that die over one: the image stays, or is lost as with any thread, and no byte is wrong.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { Fault } from '../../src/base/fault.ts';
import { MiB } from '../../src/base/units.ts';
import type { Engine, EngineImage } from '../../src/pool/engine.ts';
import type { EngineHandle } from '../../src/pool/engine-pool.ts';
import type { InlinePool } from '../../src/pool/inline-pool.ts';
import { MortalPool } from '../support/mortal-lanes.ts';
import type { Death } from '../support/mortal-lanes.ts';
import { byteAt, cell, inlineWith, moving, qcow2 } from '../support/moving-bench.ts';
import { bytesOf, noRun, none, write } from '../support/pool-bench.ts';
import type { Bench } from '../support/pool-bench.ts';

describe('a move that fails', { timeout: 60_000 }, () => {
  /** A pool with an engine some of whose verbs fail, once `armed` is set. */
  async function failing(
    replace: (image: EngineImage, armed: () => boolean) => Partial<EngineImage>,
    open: (armed: () => boolean, options: Parameters<Engine['open']>[0]) => void,
  ): Promise<Bench & { readonly pool: InlinePool; arm(): void }> {
    let isArmed = false;
    const armed = (): boolean => isArmed;
    const at = await moving(
      inlineWith({
        ...qcow2,
        open: (options) => {
          open(armed, options);
          const image = qcow2.open(options);
          return Object.assign(image, replace(image, armed));
        },
      }),
    );
    return Object.assign(at, {
      arm: () => {
        isArmed = true;
      },
    });
  }

  async function moveHeld(at: Bench & { readonly pool: InlinePool; arm(): void }): Promise<{
    readonly handle: EngineHandle;
    readonly held: PromiseSettledResult<unknown>;
  }> {
    await at.make('one', 1 * MiB);
    const handle = await at.open('one', { writable: true });
    await handle.call('write', write(0, bytesOf(cell, 1)), none);
    at.arm();
    const moved = at.pool.relocate('one', 1);
    await new Promise(setImmediate);
    const [held] = await Promise.allSettled([handle.call('write', write(cell, bytesOf(cell, 2)), none)]);
    assert.equal(await moved, false);
    assert.deepEqual(
      at.failures.map(({ doing, imageId }) => [doing, imageId]),
      [['moving an image to another thread', 'one']],
    );
    return { handle, held };
  }

  const nothing = (): Partial<EngineImage> => ({});
  const diskFailed = ({ code, context }: Fault): boolean => code === 'engine-lost' && context['diskFailed'] === true;

  it('because the new thread cannot open the file leaves it where it was, with all its requests', async () => {
    let opens = 0;
    await using at = await failing(nothing, (armed) => {
      opens += 1;
      if (armed() && opens === 3) throw new Fault('io-error', { systemCode: 'EMFILE' });
    });
    const { handle, held } = await moveHeld(at);
    assert.equal(held.status, 'fulfilled');
    assert.deepEqual([handle.lossCount, await byteAt(handle, 0), await byteAt(handle, cell)], [0, 1, 2]);
    assert.equal(await at.pool.relocate('one', 0), false, 'it is back on the first thread');
    assert.equal(at.pool.figures().openImages, 1);
  });

  it('because no thread can open the file any more loses the image, but not a byte of it', async () => {
    let isBroken = true;
    await using at = await failing(nothing, (armed) => {
      if (armed() && isBroken) throw new Fault('io-error', { systemCode: 'EMFILE' });
    });
    const { handle, held } = await moveHeld(at);
    assert.equal(held.status === 'rejected' && (held.reason as Fault).code, 'engine-lost');
    await assert.rejects(byteAt(handle, 0), diskFailed);
    assert.equal(handle.lossCount, 1);
    handle.release();
    isBroken = false;
    const again = await at.open('one', { writable: true });
    assert.deepEqual([await byteAt(again, 0), await byteAt(again, cell)], [1, 0]);
    assert.equal(at.pool.figures().openImages, 1);
  });

  it('because there is no room to settle the file leaves it open where it is', async () => {
    const settle = (): never => {
      throw new Fault('insufficient-storage', {});
    };
    await using at = await failing(
      () => ({ settle }),
      () => undefined,
    );
    const { handle, held } = await moveHeld(at);
    assert.equal(held.status, 'fulfilled');
    assert.deepEqual([handle.lossCount, await byteAt(handle, 0), await byteAt(handle, cell)], [0, 1, 2]);
  });

  it('because the disk fails loses the image: nobody knows what is on it', async () => {
    const settle = (): never => {
      throw new Fault('io-error', { operation: 'flush' });
    };
    await using at = await failing(
      () => ({ settle }),
      () => undefined,
    );
    const { handle, held } = await moveHeld(at);
    assert.equal(held.status === 'rejected' && (held.reason as Fault).code, 'engine-lost');
    await assert.rejects(byteAt(handle, 0), diskFailed);
    assert.equal(handle.lossCount, 1);
  });
});

describe('a thread that dies while an image is moved', { timeout: 60_000 }, () => {
  const deaths: readonly (readonly [Death, 'stays' | 'is lost'])[] = [
    [{ lane: 1, kind: 'guard', isDone: false }, 'stays'],
    [{ lane: 1, kind: 'guard', isDone: true }, 'stays'],
    [{ lane: 0, kind: 'leave', isDone: false }, 'is lost'],
    [{ lane: 0, kind: 'leave', isDone: true }, 'is lost'],
    [{ lane: 1, kind: 'open', isDone: false }, 'is lost'],
    [{ lane: 1, kind: 'open', isDone: true }, 'is lost'],
    [{ lane: 1, kind: 'unguard', isDone: false }, 'is lost'],
    [{ lane: 1, kind: 'unguard', isDone: true }, 'is lost'],
  ];
  for (const [death, outcome] of deaths) {
    const when = death.isDone ? 'having done' : 'before';
    it(`${outcome}: lane ${death.lane} ends ${when} "${death.kind}"`, async () => {
      await using at = await moving(async (settings) => new MortalPool(settings, { engine: qcow2, lanes: 2 }));
      await at.make('one', 1 * MiB);
      const handle = await at.open('one', { writable: true });
      await handle.call('write', write(0, bytesOf(cell, 1)), none);
      await handle.call('flush', {}, none);
      await handle.call('write', write(cell, bytesOf(cell, 2)), none);
      at.pool.doom(death);
      const moved = at.pool.relocate('one', 1);
      await new Promise(setImmediate);
      const [held] = await Promise.allSettled([handle.call('write', write(2 * cell, bytesOf(cell, 3)), none)]);
      await moved;
      if (outcome === 'stays') {
        assert.deepEqual([handle.lossCount, held.status], [0, 'fulfilled']);
        assert.deepEqual(await Promise.all([0, cell, 2 * cell].map((offset) => byteAt(handle, offset))), [1, 2, 3]);
      } else {
        assert.equal(handle.lossCount, 1);
        await assert.rejects(byteAt(handle, 0), { code: 'engine-lost' });
      }
      handle.release();
      await at.pool.evict('one');
      const again = await at.open('one', { writable: true });
      assert.equal(await byteAt(again, 0), 1, 'what was flushed is there');
      assert.equal((await again.run('check', {}, noRun)).corruptions, 0);
      assert.equal(at.pool.figures().openImages, 1);
      assert.equal(at.pool.figures().threadsLost, 1);
    });
  }
});
