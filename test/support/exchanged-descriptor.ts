// Disks that fail from a moment on: the descriptor of an open file is made one of something else.

import assert from 'node:assert/strict';
import { closeSync, openSync, readdirSync, readlinkSync } from 'node:fs';

/** Puts another file under the descriptor of an open one: one that can be read and not synced. */
export function exchangeDescriptor(path: string, other: string): number {
  const name = readdirSync('/proc/self/fd').find((entry) => linkOf(entry) === path);
  const descriptor = Number(name);
  closeSync(descriptor);
  assert.equal(openSync(other, 'r'), descriptor);
  return descriptor;
}

function linkOf(entry: string): string | undefined {
  try {
    return readlinkSync(`/proc/self/fd/${entry}`);
  } catch (error) {
    assert.ok(error instanceof Error);
    return undefined;
  }
}
