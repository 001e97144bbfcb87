// Random histories of leases over the real services, judged by a model of the contract that knows nothing of them.
//
//   FIRST_SEED=17 HISTORIES=20 npm test -- simulation/leases     one house again
//   HISTORIES=20000 npm test -- simulation/leases                as many as wanted

import assert from 'node:assert/strict';
import { cpSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';

import { openHouse } from '../support/service-house.ts';
import type { ServiceHouse } from '../support/service-house.ts';
import { Prng } from '../support/prng.ts';
import { tempFolder } from '../support/temp-folder.ts';
import { LeasedImage } from './lease-clients.ts';
import { watchedEngine } from './lease-engine.ts';
import type { HistoryEvent } from './lease-history.ts';
import { judgeHistory } from './lease-model.ts';

/** The images of one house have histories of their own, and its clocks and restarts in common. */
const imagesPerHouse = 20;
const stepsPerHouse = 26;
const historiesWanted = Number(process.env['HISTORIES'] ?? 500);
const firstSeed = Number(process.env['FIRST_SEED'] ?? 1);
const houseCount = Math.ceil(historiesWanted / imagesPerHouse);

describe(`${String(houseCount * imagesPerHouse)} histories of leases, from seed ${String(firstSeed)}`, () => {
  const seen = { granted: 0, applied: 0, lost: 0, locked: 0, stale: 0, restart: 0 };
  for (let seed = firstSeed; seed < firstSeed + houseCount; seed += 1) {
    it(
      `seed ${String(seed)}: never two holders, nor a change behind a holder's back`,
      { timeout: 300_000 },
      async () => {
        for (const events of await liveHouse(seed)) {
          const wrong = judgeHistory(events);
          assert.equal(wrong, undefined, `seed ${String(seed)}: ${String(wrong)}`);
          count(seen, events);
        }
      },
    );
  }

  it('saw everything that may happen', () => {
    for (const [kind, times] of Object.entries(seen)) assert.ok(times > 0, `${kind} never happened`);
  });
});

/** What happened to each of its images. */
async function liveHouse(seed: number): Promise<readonly (readonly HistoryEvent[])[]> {
  const prng = new Prng(seed);
  using folder = tempFolder();
  const images = new Map<string, LeasedImage>();
  const clocks = { wallMs: 1_700_000_000_000, steadyMs: prng.below(1_000_000) };
  const engine = watchedEngine((id) => images.get(id)?.watch());
  const parts = { engine, clock: () => clocks.wallMs, steadyClock: () => clocks.steadyMs };
  let path = join(folder.path, 'life-0');
  let house: ServiceHouse = await openHouse({ ...parts, path });
  for (let index = 0; index < imagesPerHouse; index += 1) {
    const image = await LeasedImage.make(house.services, { name: `vm${String(index)}`, prng: prng.fork() });
    images.set(image.id, image);
  }
  const all = [...images.values()];
  const restartAt = new Set([8 + prng.below(6), 16 + prng.below(6)]);
  for (let step = 0; step < stepsPerHouse; step += 1) {
    for (const image of all) image.step();
    for (let turns = prng.below(6); turns > 0; turns -= 1) await turn();
    if (prng.chance(10)) clocks.wallMs += (prng.below(2_000_000) - 1_000_000) * 1000;
    if (prng.chance(45)) {
      const ms = prng.pick([500, 2_000, 3_000, 6_000, 21_000]);
      clocks.steadyMs += ms;
      clocks.wallMs += ms;
      for (const image of all) image.advance(ms);
    }
    if (!restartAt.has(step)) continue;
    const next = join(folder.path, `life-${String(step)}`);
    [house, path] = await restart({ house, path, next, images: all, killed: prng.chance(60) }, async (where) => {
      clocks.steadyMs = prng.below(1_000_000);
      return openHouse({ ...parts, path: where });
    });
  }
  for (const image of all) await image.untilIdle();
  await house[Symbol.asyncDispose]();
  return all.map(({ events }) => events);
}

interface Restart {
  readonly house: ServiceHouse;
  readonly path: string;
  readonly next: string;
  readonly images: readonly LeasedImage[];
  readonly killed: boolean;
}

/** Killed: the folder as it is now, between two events of the process, is what the next one finds. */
async function restart(
  { house, path, next, images, killed }: Restart,
  open: (path: string) => Promise<ServiceHouse>,
): Promise<[ServiceHouse, string]> {
  if (killed) cpSync(path, next, { recursive: true });
  if (!killed) await house[Symbol.asyncDispose]();
  for (const image of images) image.restart(killed ? 'killed' : 'stopped');
  if (killed) await house[Symbol.asyncDispose]();
  const opened = await open(killed ? next : path);
  for (const image of images) image.goOn(opened.services);
  return [opened, killed ? next : path];
}

function count(seen: Record<string, number>, events: readonly HistoryEvent[]): void {
  for (const event of events) {
    const kind = event.kind === 'end' ? event.operation.outcome.kind : event.kind;
    if (kind in seen) seen[kind] = (seen[kind] ?? 0) + 1;
  }
}
