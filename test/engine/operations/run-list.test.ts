// Runs found by place and by rank, compared with a plain array.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { RunList, runKinds } from '../../../src/engine/operations/run-list.ts';
import type { Run, RunKind } from '../../../src/engine/operations/run-list.ts';
import { Prng } from '../../support/prng.ts';

describe('a run list', () => {
  for (const lengthMax of [1, 3, 200, 100_000]) {
    it(`finds every place and rank that a plain array finds: runs up to ${lengthMax}`, () => {
      const random = new Prng(lengthMax);
      const list = new RunList();
      const runs: { kind: RunKind; start: number; end: number; rank: number }[] = [];
      let place = 0;
      let rank = 0;
      for (let index = 0; index < 3000; index += 1) {
        const kind = random.pick([runKinds.absent, runKinds.counted, runKinds.other]);
        const length = random.below(lengthMax + 1);
        list.append(length, kind);
        if (length === 0) continue;
        const last = runs.at(-1);
        if (last?.kind === kind) last.end += length;
        else runs.push({ kind, start: place, end: place + length, rank });
        place += length;
        if (kind === runKinds.counted) rank += length;
      }
      list.close();
      assert.equal(list.length, place);
      assert.equal(list.counted, rank);
      assert.deepEqual([...list.from(0)], runs);
      for (let round = 0; round < 200; round += 1) {
        const wanted = random.below(place);
        assert.deepEqual(
          first(list.from(wanted)),
          runs.find(({ end }) => end > wanted),
        );
        const wantedRank = random.below(rank);
        const counted = runs.filter(({ kind }) => kind === runKinds.counted);
        assert.deepEqual(
          first(list.fromRank(wantedRank)),
          counted.find((run) => run.rank + run.end - run.start > wantedRank),
        );
      }
      assert.equal(first(list.from(place)), undefined);
      assert.equal(first(list.fromRank(rank)), undefined);
    });
  }

  it('holds rows of nothing and of 2^43 places', () => {
    const empty = new RunList();
    empty.close();
    assert.deepEqual([...empty.from(0)], []);
    const long = new RunList();
    long.append(2 ** 43, runKinds.other);
    long.append(2 ** 43, runKinds.counted);
    long.close();
    assert.deepEqual(
      [...long.fromRank(2 ** 43 - 1)],
      [{ kind: runKinds.counted, start: 2 ** 43, end: 2 ** 44, rank: 0 }],
    );
  });
});

function first(runs: Generator<Run>): Run | undefined {
  for (const run of runs) return run;
  return undefined;
}
