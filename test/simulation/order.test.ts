// Encrypted sectors and packed blobs are durable before the entries that name them: without that flush a crash shows.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { present } from '../../src/base/assert.ts';
import type { TrialOptions, TrialRecord } from './crash-trials.ts';
import { flushPlaces } from './flush-places.ts';
import { liveEncrypted, livePacked } from './life-variants.ts';

/** The flush between what was written and the entries that name it. */
const flushBetween = 'write-order.ts beforeMapping 2';

/** Lives in which a crash at the right moment is met in any case. */
const lives = 12;

const rows: readonly (readonly [string, (seed: number, options: TrialOptions) => TrialRecord])[] = [
  ['LUKS sectors (ORD-03, OPS-10, T53)', liveEncrypted],
  ['packed blobs (ORD-16, T59)', livePacked],
];

describe('without the flush before the entries a crash shows what was never written', () => {
  const place = present(
    [...flushPlaces()].find(([, name]) => name === flushBetween)?.[0],
    'the flush has its place in the write order',
  );
  for (const [name, live] of rows) {
    it(name, (test) => {
      const options: TrialOptions = {
        ...{ samples: 5, pointPercent: 100, epochs: 'merged' },
        ignoresFlush: (places) => places.includes(place),
      };
      let seed = 0;
      let failure: string | undefined;
      while (failure === undefined && seed < lives) {
        failure = live(seed, options).failure;
        seed += 1;
      }
      test.diagnostic(`seed ${String(seed - 1)}: ${failure?.split('\n')[0] ?? 'nothing noticed'}`);
      assert.ok(failure !== undefined, 'a crash is noticed');
    });
  }
});
