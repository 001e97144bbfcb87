// Requests on one image at the same time: there is always one order of all of them that explains what each was told.
//
//   HISTORIES=5000 FIRST_SEED=1000 node --test test/acceptance/concurrent-requests.test.ts

import assert from 'node:assert/strict';
import { Agent } from 'node:http';
import { describe, test } from 'node:test';

import { KiB } from '../../src/base/units.ts';
import { workerEntry } from '../../src/pool/thread-pool.ts';
import { bytesOf } from '../support/cell-layout.ts';
import type { CellLayout } from '../support/cell-layout.ts';
import { explainGenerations, prepare, readToTheEnd, useImage } from '../support/concurrent-clients.ts';
import type { Theme } from '../support/concurrent-clients.ts';
import { explainHistory, tellHistory } from '../support/linearizability.ts';
import { Prng } from '../support/prng.ts';
import { serveHouse } from '../support/served-house.ts';
import { houseEngine } from '../support/service-engine.ts';
import { openHouse } from '../support/service-house.ts';
import type { ServiceHouse } from '../support/service-house.ts';
import { expectStatus, send } from '../support/shared-image.ts';
import type { SharedImage } from '../support/shared-image.ts';
import { memoryFolder } from '../support/temp-folder.ts';
import { explainBitmaps } from '../support/tracked-bitmaps.ts';
import type { Action, Content, Happening } from '../support/tracked-disk.ts';

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
  ...{ clusterSize: 512, stride: 32 * KiB, cellCount: 240, isSparse: true },
  reach: { write: 2, zero: 44, discard: 44 },
};

/** Each as often as it stands here. */
const themes: readonly Theme[] = [
  ...(['snapshots', 'snapshots', 'snapshots', 'upkeep', 'upkeep', 'upkeep'] as const),
  ...(['chain', 'chain', 'bitmaps', 'bitmaps'] as const),
];

/** From so many histories on, each verb has come to its end at least once. */
const countForEveryVerb = 100;
const everyVerb = [
  ...['read', 'write', 'pack', 'zero', 'discard', 'resize', 'check', 'map'],
  ...['snapshot', 'revert', 'read snapshot', 'delete snapshot', 'write VM state', 'read VM state'],
  ...['copy', 'copy snapshot', 'download', 'compact', 'amend', 'runtime', 'move', 'detach'],
  ...['commit', 'flatten', 'rebase'],
  ...['make bitmap', 'tell bitmap', 'clear bitmap', 'switch bitmap', 'merge bitmaps', 'delete bitmap'],
];

describe('requests on one image at the same time', { timeout: 1_800_000 }, () => {
  const allDone = new Set<string>();
  for (const engine of ['inline', 'threads'] as const) {
    test(`are answered as if in one order (OPS-11, ORD-20, T52, T53), engine ${engine}`, async (context) => {
      using folder = memoryFolder();
      const house = await openHouse({
        engine: houseEngine,
        ...(engine === 'threads' ? { entry: workerEntry } : { lanes: 2 }),
        path: folder.path,
        // Images close while others still come: they are opened again, and again for writing.
        imageIdleMs: 1,
      });
      await using served = await serveHouse(house);
      const address = served.server.address();
      assert.ok(typeof address === 'object' && address !== null, 'the service has a port');
      const agent = new Agent({ keepAlive: true });
      const service = { house, base: `http://127.0.0.1:${address.port}`, agent, done: new Map<string, number>() };
      try {
        for (let seed = firstSeed; seed < firstSeed + historyCount; seed += 1) {
          if ((seed % threadsEvery === 0) === (engine === 'inline')) continue;
          await playHistory(service, { seed, engine });
        }
      } finally {
        agent.destroy();
      }
      const { done } = service;
      const told = everyVerb.map((verb) => `${verb} ${done.get(verb) ?? 0}`);
      context.diagnostic(`seeds from ${firstSeed}: ${told.join(', ')}`);
      for (const verb of done.keys()) allDone.add(verb);
    });
  }

  if (historyCount < countForEveryVerb) return;
  test('are of every kind', () => {
    const missing = everyVerb.filter((verb) => !allDone.has(verb));
    assert.deepEqual(missing, []);
  });
});

interface Service {
  readonly house: ServiceHouse;
  readonly base: string;
  readonly agent: Agent;
  readonly done: Map<string, number>;
}

/** One image and its clients by chance. Whatever goes wrong is told with all that is needed to find out why. */
async function playHistory(
  service: Service,
  { seed, engine }: { readonly seed: number; readonly engine: string },
): Promise<void> {
  const { house } = service;
  const prng = new Prng(seed);
  const theme = prng.pick(themes);
  const layout = prng.chance(10) ? wideLayout : prng.pick(smallLayouts);
  const content: Content = Array.from({ length: layout.cellCount }, (_, cell) => (prng.chance(70) ? cell + 1 : 0));
  const image = newSharedImage(service, { seed, layout, isOverlay: theme === 'chain' || prng.chance(30) });
  const clients = Array.from({ length: 2 + prng.below(clientsMax - 1) }, () => prng.fork());
  const began = performance.now();
  try {
    image.id = await importImage(image, content);
    await prepare(image, { prng, theme });
    const uses = clients.map(async (chance) => useImage(image, { prng: chance, theme, count: requestsPerClient }));
    // Each to its end, so that none goes on beside the next history.
    await Promise.allSettled(uses);
    await Promise.all(uses);
    await readToTheEnd(image, prng);
    assert.equal(explainHistory(content, image.history), undefined);
    for (const history of image.vmStates.values()) assert.equal(explainHistory([0], history), undefined);
    assert.equal(explainBitmaps(image.bitmapEvents, image.history), undefined);
    assert.equal(explainGenerations(image), undefined);
    assert.deepEqual(house.failures, [], 'nothing goes wrong in the background');
    for (const name of [image.name, image.below]) {
      if (name === undefined) continue;
      expectStatus(await send(image, { method: 'DELETE', path: `/v1/images/${name}` }), [204]);
    }
  } catch (error) {
    const tookMs = Math.round(performance.now() - began);
    const { clusterSize, stride } = layout;
    const lines = [
      `FIRST_SEED=${seed} HISTORIES=1: ${error instanceof Error ? error.message : String(error)}`,
      `engine ${engine}, theme ${theme}, ${clients.length} clients, ${tookMs} ms`,
      `clusters of ${clusterSize} bytes, cells every ${stride}; at first ${JSON.stringify(content)}`,
      tellHistory(image.history),
      ...image.bitmapEvents.map(({ asked, answered, bitmap, event }) => `${asked}…${answered} ${bitmap} ${event.kind}`),
      ...house.failures.map((failure) => `in the background: ${JSON.stringify(failure)} ${String(failure.error)}`),
    ];
    throw new Error(lines.join('\n'), { cause: error });
  }
}

function newSharedImage(
  { house, base, agent, done }: Service,
  wish: { readonly seed: number; readonly layout: CellLayout; readonly isOverlay: boolean },
): SharedImage & { id: string } {
  const name = `seed-${wish.seed}`;
  const image = {
    ...{ base, agent, done, name, id: '', layout: wish.layout, clock: { tick: 0 }, lastValue: 1_000 },
    below: wish.isOverlay ? `${name}-below` : undefined,
    ...{ history: [], generations: [], snapshots: new Map(), vmStates: new Map() },
    ...{ bitmaps: new Set<string>(), bitmapEvents: [] },
    relocate: (index: number) => house.pool.relocate(image.id, index),
  };
  return image;
}

/** Gives the image this content, of its own or of the image below it; its id. */
async function importImage(image: SharedImage, content: Content): Promise<string> {
  const { name, below, layout } = image;
  const { clusterSize } = layout;
  const path = `/v1/imports/${below ?? name}?format=raw&clusterSize=${clusterSize}`;
  let made = await send(image, { method: 'PUT', path, body: bytesOf(layout, content), success: 201 });
  expectStatus(made, [201]);
  if (below !== undefined) {
    const json = { name, clusterSize, backing: { image: below } };
    made = await send(image, { method: 'POST', path: '/v1/images', json, success: 201 });
    expectStatus(made, [201]);
  }
  return (JSON.parse(made.body.toString()) as { readonly id: string }).id;
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
