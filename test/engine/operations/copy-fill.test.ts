// A copy onto a disk that fails at any step: the failure is told, whatever was asked of codecs by then.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { Fault } from '../../../src/base/fault.ts';
import { layerOver } from '../../../src/engine/data/image-layer.ts';
import { guestOffset } from '../../../src/engine/format/offsets.ts';
import { fill } from '../../../src/engine/operations/copy-fill.ts';
import { ImageSession } from '../../../src/engine/operations/image-session.ts';
import { runToEnd } from '../../../src/engine/operations/steps.ts';
import { FaultyFile } from '../../support/faulty-file.ts';
import { faultCodeOf } from '../../support/faults.ts';
import { imageOver, newFile } from '../../support/memory-parts.ts';
import { Prng } from '../../support/prng.ts';

const opened = { writable: true, layer: undefined, openDataFile: undefined } as const;
const spec = { clusterSize: 512, virtualSize: 400 * 512 } as const;

function source(): ImageSession {
  const file = newFile(spec);
  const image = imageOver(file, undefined);
  const bytes = new Uint8Array(300 * 512).map((_, index) => (index % 16 === 0 ? index / 512 : 7));
  runToEnd(image.writeCompressed(guestOffset(0), bytes, { detectZeroes: false }));
  image.write(guestOffset(310 * 512), new Prng(1).bytes(20 * 512), { detectZeroes: false });
  image.close();
  return ImageSession.open(file, opened);
}

/** Whether a copy met a failure that comes after so many calls, which it told then. */
function meets(layerOf: ImageSession, call: 'read' | 'write' | 'flush', after: number, compress: boolean): boolean {
  const code = call === 'write' ? 'insufficient-storage' : 'io-error';
  const file = new FaultyFile(newFile(spec), { observer: undefined, ignoresFlush: () => false });
  const target = ImageSession.open(file, opened);
  file.failLater({ call, after, fault: new Fault(code, {}) });
  const layer = layerOver(layerOf.parts, spec.virtualSize);
  const told = faultCodeOf(() => {
    runToEnd(target.changeInSteps((parts) => fill(parts, layer, { compress, keepsZeroes: false })));
    target.close();
  });
  const hasFailed = file.takeFailureBack();
  const mayBeTold = call === 'flush' ? [code, 'image-read-only'] : [code];
  if (hasFailed) assert.ok(mayBeTold.includes(String(told)), `${call} ${String(after)}: told ${String(told)}`);
  else assert.equal(told, undefined);
  return hasFailed;
}

describe('a copy onto a disk that fails', () => {
  for (const compress of [true, false]) {
    for (const call of ['write', 'flush'] as const) {
      it(`tells of every ${call} that fails, ${compress ? 'packed' : 'plain'}`, () => {
        const from = source();
        let after = 0;
        while (meets(from, call, after, compress)) after += 1;
        assert.ok(after > 0, 'the failure came true at least once');
        from.close();
      });
    }
  }

  it('tells of a source that cannot be read', () => {
    const file = new FaultyFile(newFile(spec), { observer: undefined, ignoresFlush: () => false });
    const image = imageOver(file, undefined);
    runToEnd(image.writeCompressed(guestOffset(0), new Uint8Array(4 * 512).fill(3), { detectZeroes: false }));
    image.flush();
    image.abandon();
    file.reopen();
    const from = ImageSession.open(file, opened);
    const target = ImageSession.open(newFile(spec), opened);
    const layer = layerOver(from.parts, spec.virtualSize);
    layer.extentAt(guestOffset(0), 512);
    file.failLater({ call: 'read', after: 0, fault: new Fault('io-error', {}) });
    const steps = target.changeInSteps((parts) => fill(parts, layer, { compress: true, keepsZeroes: false }));
    assert.equal(
      faultCodeOf(() => runToEnd(steps)),
      'io-error',
    );
  });
});
