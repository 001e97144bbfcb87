// Packed clusters that others unpack ahead of a reader: the same bytes, nothing kept behind, broken ones told by the reader.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { layerOver } from '../../../src/engine/data/image-layer.ts';
import { guestOffset } from '../../../src/engine/format/offsets.ts';
import { digest } from '../../../src/engine/operations/digest.ts';
import { ImageSession } from '../../../src/engine/operations/image-session.ts';
import { runToEnd } from '../../../src/engine/operations/steps.ts';
import type { Steps } from '../../../src/engine/operations/steps.ts';
import { UnpackAhead } from '../../../src/engine/operations/unpack-ahead.ts';
import { performTask } from '../../../src/engine/transform/codec-work.ts';
import { faultCodeOf } from '../../support/faults.ts';
import { ImageBytes } from '../../support/image-bytes.ts';
import { fileBytes, imageOver, newFile } from '../../support/memory-parts.ts';
import { MemoryFile } from '../../../src/engine/file/memory-file.ts';
import { Prng } from '../../support/prng.ts';

const cluster = 4096;
const opened = { writable: true, layer: undefined, openDataFile: undefined } as const;

function sourceFile(): MemoryFile {
  const file = newFile({ virtualSize: 900 * cluster });
  const image = imageOver(file, undefined);
  const bytes = new Uint8Array(600 * cluster).map((_, index) => (index % 32 === 0 ? index / cluster : 3));
  runToEnd(image.writeCompressed(guestOffset(100 * cluster), bytes, { detectZeroes: false }));
  image.write(guestOffset(300 * cluster), new Prng(1).bytes(2 * cluster), { detectZeroes: false });
  image.close();
  return file;
}

/** Answers what is asked for only when it is waited for: as late as can be. Returns how much was asked for. */
function runLate<Result>(steps: Steps<Result>): { readonly result: Result; readonly asked: number } {
  let asked = 0;
  for (;;) {
    const next = steps.next();
    if (next.done === true) return { result: next.value, asked };
    if (next.value.asks !== undefined) asked += 1;
    const { awaits } = next.value;
    if (awaits !== undefined) {
      const { task } = awaits;
      awaits.answer(performTask({ ...task, bytes: task.bytes.slice() }));
    }
  }
}

describe('a digest of packed clusters', () => {
  it('is that of the bytes, whoever has unpacked them', () => {
    const session = ImageSession.open(sourceFile(), opened);
    const layer = layerOver(session.parts, 900 * cluster);
    const { result, asked } = runLate(digest(layer));
    assert.equal(asked, 3);
    // Without `storedAt` nobody is asked for anything.
    const plain = {
      size: layer.size,
      read: layer.read.bind(layer),
      extentAt: layer.extentAt.bind(layer),
      close: () => undefined,
    };
    assert.equal(runToEnd(digest(plain)), result);
    session.close();
  });

  it('meets a blob that is broken where the reader meets it', () => {
    const bytes = ImageBytes.of(fileBytes(sourceFile()));
    const entry = bytes.u64(bytes.l2At(150));
    bytes.fill(Number(entry & 0x3ff_ffff_ffff_ffffn), 20, 0xff);
    const session = ImageSession.open(MemoryFile.of(bytes.bytes), opened);
    const layer = layerOver(session.parts, 900 * cluster);
    assert.equal(
      faultCodeOf(() => runLate(digest(layer))),
      'compressed-data-invalid',
    );
    session.release();
  });
});

describe('clusters that were unpacked ahead', () => {
  it('are forgotten when another blob takes their place', () => {
    const file = sourceFile();
    const session = ImageSession.open(file, opened);
    const layer = layerOver(session.parts, 900 * cluster);
    const ahead = new UnpackAhead(layer, () => true);
    const at = 100 * cluster;
    runLate(ahead.reach(at, at + cluster, { done: 0, total: 1 }));
    const stored = layer.storedAt?.(guestOffset(at));
    session.parts.unpacked.forgetAll();
    stored?.keep(new Uint8Array(cluster).fill(0xee));
    const bytes = new Uint8Array(cluster);
    layer.read(guestOffset(at), bytes);
    assert.equal(bytes[1], 3);
    ahead.end();
    session.close();
  });
});
