// Requests on one image at the same time: there is always one order of all of them that explains what each was told.
//
//   HISTORIES=5000 FIRST_SEED=1000 node --test test/acceptance/concurrent-requests.test.ts

import assert from 'node:assert/strict';
import { Agent } from 'node:http';
import { describe, test } from 'node:test';

import { createApplication } from '../../src/app.ts';
import { KiB } from '../../src/base/units.ts';
import { loadConfig } from '../../src/config.ts';
import { bytesOf } from '../support/cell-layout.ts';
import type { CellLayout } from '../support/cell-layout.ts';
import { explainGenerations, readToTheEnd, useImage } from '../support/concurrent-clients.ts';
import type { SharedImage } from '../support/concurrent-clients.ts';
import { explainHistory } from '../support/linearizability.ts';
import type { Happening } from '../support/linearizability.ts';
import { Prng } from '../support/prng.ts';
import { memoryFolder } from '../support/temp-folder.ts';
import type { Action, Content } from '../support/tracked-disk.ts';

const historyCount = Number(process.env['HISTORIES'] ?? 200);
const firstSeed = Number(process.env['FIRST_SEED'] ?? 1);
/** Of so many histories one runs on engine threads; the others share one thread with the service. */
const threadsEvery = 5;

const clientsMax = 4;
const requestsPerClient = 5;

/** Played fast. */
const small = { isSparse: false, reach: { write: 4, zero: 6, discard: 12 } };
const smallLayouts: readonly CellLayout[] = [
  { clusterSize: 512, stride: 512, cellCount: 16, ...small },
  { clusterSize: 4 * KiB, stride: 512, cellCount: 30, ...small },
  { clusterSize: 64 * KiB, stride: 8 * KiB, cellCount: 20, ...small },
];
/** A mapping table for each cell: snapshots, reverts, zeroes and discards take several steps. */
const wideLayout: CellLayout = {
  ...{ clusterSize: 512, stride: 32 * KiB, cellCount: 320, isSparse: true },
  reach: { write: 2, zero: 44, discard: 44 },
};

describe('requests on one image at the same time', { timeout: 1_800_000 }, () => {
  for (const engine of ['inline', 'threads'] as const) {
    test(`are answered as if in one order (OPS-11, ORD-20, T52, T53), engine ${engine}`, async (context) => {
      using folder = memoryFolder();
      const settings = { QCOWD_DATA_DIR: folder.path, QCOWD_LOG_LEVEL: 'silent', QCOWD_PORT: '0' };
      const application = await createApplication({
        // Images close while others still come: they are opened again, and again for writing.
        config: loadConfig({ ...settings, QCOWD_IMAGE_IDLE_MS: '1', QCOWD_ENGINE_THREADS: '2' }, { cores: 1 }),
        identity: { name: 'qcowd', version: '0.0.0-test' },
        engine,
      });
      const base = await application.listen();
      const agent = new Agent({ keepAlive: true });
      let requests = 0;
      try {
        for (let seed = firstSeed; seed < firstSeed + historyCount; seed += 1) {
          if ((seed % threadsEvery === 0) === (engine === 'inline')) continue;
          requests += await playHistory({ base, agent, seed });
        }
      } finally {
        agent.destroy();
        await application.stop();
      }
      context.diagnostic(`${requests} requests, seeds from ${firstSeed}`);
    });
  }
});

/** One image and its clients by chance; how many requests were judged. */
async function playHistory(options: {
  readonly base: string;
  readonly agent: Agent;
  readonly seed: number;
}): Promise<number> {
  const { base, agent, seed } = options;
  const prng = new Prng(seed);
  const layout = prng.chance(15) ? wideLayout : prng.pick(smallLayouts);
  const content: Content = Array.from({ length: layout.cellCount }, (_, cell) => (prng.chance(70) ? cell + 1 : 0));
  const name = await importImage({ base, name: `seed-${seed}`, layout, content, isOverlay: prng.chance(30) });
  const image: SharedImage = {
    ...{ base, agent, name, layout, clock: { tick: 0 }, lastValue: 1_000 },
    ...{ history: [], generations: [], snapshots: new Map() },
  };
  const clients = Array.from({ length: 2 + prng.below(clientsMax - 1) }, () => prng.fork());
  try {
    await Promise.all(clients.map(async (chance) => useImage(image, { prng: chance, count: requestsPerClient })));
    await readToTheEnd(image);
    assert.equal(explainHistory(content, image.history), undefined);
    assert.equal(explainGenerations(image), undefined);
  } catch (error) {
    throw new Error(`FIRST_SEED=${seed} HISTORIES=1: ${error instanceof Error ? error.message : String(error)}`, {
      cause: error,
    });
  }
  await fetch(`${base}/v1/images/${name}`, { method: 'DELETE' });
  return clients.length * requestsPerClient;
}

/** An image with this content, of its own or of the image below it. */
async function importImage(wish: {
  readonly base: string;
  readonly name: string;
  readonly layout: CellLayout;
  readonly content: Content;
  readonly isOverlay: boolean;
}): Promise<string> {
  const { base, name, layout, isOverlay } = wish;
  const { clusterSize } = layout;
  const below = isOverlay ? `${name}-below` : name;
  const imported = await fetch(`${base}/v1/imports/${below}?format=raw&clusterSize=${clusterSize}`, {
    method: 'PUT',
    body: new Uint8Array(bytesOf(layout, wish.content)),
  });
  assert.equal(imported.status, 201, await imported.text());
  if (!isOverlay) return name;
  const made = await fetch(`${base}/v1/images`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ name, clusterSize, backing: { image: below } }),
  });
  assert.equal(made.status, 201, await made.text());
  return name;
}

describe('the judge of histories', () => {
  const at = (asked: number, answered: number, action: Action): Happening => ({
    asked,
    answered,
    action,
    what: 'test',
  });
  const write = (from: number, ...values: number[]): Action => ({ kind: 'write', from, values });
  const read = (from: number, ...values: number[]): Action => ({ kind: 'read', from, values });

  test('finds the order of what overlaps', () => {
    const history = [at(1, 10, write(0, 7)), at(2, 3, read(0, 0)), at(4, 5, read(0, 7)), at(6, 7, read(0, 7))];
    assert.equal(explainHistory([0, 0], history), undefined);
  });

  test('finds out a read of something old', () => {
    const history = [at(1, 2, write(0, 7)), at(3, 4, read(0, 0))];
    assert.match(explainHistory([0], history) ?? '', /no order/);
  });

  test('finds out two readers that saw two writes in two orders', () => {
    const writes = [at(1, 20, write(0, 7)), at(1, 20, write(1, 8))];
    const reads = [at(2, 3, read(0, 7, 0)), at(2, 3, read(0, 0, 8))];
    assert.match(explainHistory([0, 0], [...writes, ...reads]) ?? '', /no order/);
    assert.equal(explainHistory([0, 0], [...writes, at(2, 3, read(0, 7, 0)), at(4, 5, read(0, 7, 8))]), undefined);
  });

  test('finds out a revert that was seen in part', () => {
    const revert = at(1, 9, { kind: 'revert', content: [1, 2] });
    assert.match(explainHistory([0, 0], [revert, at(2, 3, read(0, 1, 0))]) ?? '', /no order/);
    assert.equal(explainHistory([0, 0], [revert, at(2, 3, read(0, 0, 0)), at(2, 3, read(0, 1, 2))]), undefined);
  });

  test('finds out old bytes behind an end that was moved back and forth', () => {
    const sizes = [at(1, 2, { kind: 'resize', size: 1 }), at(3, 4, { kind: 'resize', size: 2 })];
    assert.match(explainHistory([5, 6], [...sizes, at(5, 6, read(0, 5, 6))]) ?? '', /no order/);
    assert.equal(explainHistory([5, 6], [...sizes, at(5, 6, read(0, 5, 0))]), undefined);
  });

  test('lets be what may never have happened', () => {
    assert.equal(explainHistory([0], [at(1, Infinity, write(0, 7)), at(3, 4, read(0, 0))]), undefined);
    assert.equal(explainHistory([0], [at(1, Infinity, write(0, 7)), at(3, 4, read(0, 7))]), undefined);
  });
});
