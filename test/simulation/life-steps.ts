// How the actions of a life are done: the bytes that are packed, the runs that are cancelled, the image that is opened.

import type { ByteFile } from '../../src/engine/file/byte-file.ts';
import type { Image, Steps } from '../../src/engine/image.ts';
import type { Prng } from '../support/prng.ts';
import { openOver } from './crash-judge.ts';
import type { LifePlan } from './life-plan.ts';

/** Opens the image of a life over a file, with its key. */
export function openPlanned(file: ByteFile, plan: LifePlan): Image {
  const image = openOver(file, plan.below ?? plan.backing);
  if (plan.spec.encryption !== undefined) image.unlock(plan.spec.encryption.volumeKey);
  return image;
}

/** Clusters of which some shrink much, some little and some not at all, and some are zero. */
export function packable(chance: Prng, length: number, clusterSize: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length; at += clusterSize) {
    const cluster = bytes.subarray(at, at + clusterSize);
    cluster.fill(chance.below(4));
    const noise = chance.bytes(Math.floor((cluster.length * chance.pick([0, 0, 10, 60, 100])) / 100));
    cluster.set(noise);
  }
  return bytes;
}

/** Runs to the end, or cancels after so many steps; false when it was cancelled. */
export function runUntil(steps: Steps<unknown>, cancelAfter: number | undefined): boolean {
  for (let count = 0; count !== cancelAfter; count += 1) {
    if (steps.next().done === true) return true;
  }
  let ended = steps.return(undefined);
  while (ended.done !== true) ended = steps.next();
  return false;
}
