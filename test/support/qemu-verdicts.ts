// What tests conclude from qemu-img's answers: an image is sound, two maps say the same.

import assert from 'node:assert/strict';

import { checkImage } from './qemu-img.ts';
import type { MapRun } from './qemu-img.ts';

/** `qemu-img check` finds nothing: neither a corruption nor a leak. */
export function assertSound(path: string, note: string): void {
  const { exit, json, stderr } = checkImage(path, 'none');
  assert.equal(exit, 0, `${note}: ${JSON.stringify(json)} ${stderr}`);
}

/** The map with only those `facts` of each run, equal neighbours merged. */
export function mergedMap<Facts>(
  runs: readonly MapRun[],
  facts: (run: MapRun) => Facts,
): readonly { readonly facts: Facts; readonly start: number; readonly length: number }[] {
  const merged: { facts: Facts; start: number; length: number }[] = [];
  for (const run of runs.filter(({ length }) => length > 0)) {
    const kept = facts(run);
    const last = merged.at(-1);
    if (last !== undefined && JSON.stringify(last.facts) === JSON.stringify(kept)) {
      last.length += run.length;
      continue;
    }
    merged.push({ facts: kept, start: run.start, length: run.length });
  }
  return merged;
}
