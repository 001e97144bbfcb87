import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { endPhases } from '../src/stop-phases.ts';
import type { StopPhase } from '../src/stop-phases.ts';

describe('the end in phases', () => {
  const never = (): Promise<void> => new Promise(() => undefined);
  const fail = async (): Promise<void> => {
    throw new Error('broken');
  };
  const phase = (name: string, mayBeCut: boolean, end: () => Promise<void>): StopPhase => {
    return { name, spareMs: 0, mayBeCut, end };
  };

  test('gives each its turn, and tells what failed from what was only cut', async () => {
    const ended: string[] = [];
    const failures = await endPhases(
      [
        { ...phase('requests', true, never), spareMs: 40 },
        phase('waits', true, fail),
        { ...phase('images', false, never), spareMs: 20 },
        phase('threads', true, never),
        phase('lock', false, async () => void ended.push('lock')),
      ],
      { limitMs: 50, clock: () => performance.now() },
    );
    assert.deepEqual(
      failures.map(({ phase: name, isCut }) => [name, isCut]),
      [
        ['requests', true],
        ['waits', false],
        ['images', false],
        ['threads', true],
      ],
    );
    assert.match(String(failures[0]?.error), /"requests" took longer than 10 ms/u);
    assert.deepEqual(ended, ['lock']);
  });
});
