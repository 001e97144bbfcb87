import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { makeTemplate, tear, tornKinds } from '../support/torn-jobs.ts';
import type { Template, TornKind } from '../support/torn-jobs.ts';

/** After so many steps a run is cut. A revert has some more before the old content is gone. */
const stepsOf = (kind: TornKind): readonly number[] => (kind === 'snapshot-revert' ? [0, 2, 7] : [0, 2]);

/** Which ends each kind was seen to come to. */
const ends: Readonly<Record<TornKind, readonly string[]>> = {
  'create': ['failed'],
  'import': ['failed'],
  'copy': ['failed'],
  'compact': ['succeeded'],
  'grow': ['failed'],
  'shrink': ['failed', 'succeeded'],
  'compare': ['succeeded'],
  'check': ['succeeded'],
  'repair': ['succeeded'],
  'empty': ['failed', 'succeeded'],
  'amend': ['failed'],
  'zero': ['failed'],
  'discard': ['failed'],
  'snapshot-create': ['failed'],
  'snapshot-delete': ['failed', 'succeeded'],
  'snapshot-revert': ['failed', 'succeeded'],
};

describe('a job whose process ends before it', { timeout: 300_000 }, () => {
  let template: Template;
  before(async () => {
    template = await makeTemplate();
  });
  after(() => {
    template[Symbol.dispose]();
  });

  for (const [place, kind] of tornKinds.entries()) {
    test(`${kind}: killed, the next process says how it ended, and the image is as it says`, async () => {
      const states = new Set<string>();
      for (const step of stepsOf(kind)) {
        const torn = await tear(template, { kind, step, ending: 'crash' });
        if (torn === undefined) break;
        states.add(torn.state);
      }
      assert.deepEqual([...states].toSorted(), ends[kind]);
    });

    // What stops a job in order knows no kinds: every third is enough.
    if (place % 3 !== 0) continue;
    test(`${kind}: stopped in order, the same`, async () => {
      const cut = { kind, ending: 'stop' } as const;
      const torn = (await tear(template, { ...cut, step: 1 })) ?? (await tear(template, { ...cut, step: 0 }));
      assert.ok(torn !== undefined);
    });
  }
});
