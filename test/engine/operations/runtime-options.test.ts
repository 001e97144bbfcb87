// What of an open image is a matter of running it, where the image becomes another one.

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, it } from 'node:test';

import { KiB, MiB } from '../../../src/base/units.ts';
import { guestOffset } from '../../../src/engine/format/offsets.ts';
import { Image } from '../../../src/engine/image.ts';
import { runToEnd } from '../../../src/engine/operations/steps.ts';
import { faultCodeOf } from '../../support/faults.ts';
import { fillGuest, guestBytes } from '../../support/memory-parts.ts';
import { smallSpec } from '../../support/plain-spec.ts';
import { tempFolder } from '../../support/temp-folder.ts';

describe('options that need version 3', () => {
  it('end when the image is amended to version 2, and the others stay', () => {
    using folder = tempFolder();
    const path = join(folder.path, 'one.qcow2');
    runToEnd(Image.create(path, { ...smallSpec, virtualSize: 64 * MiB }));
    const file = { path, writable: true, backing: [], locks: 'none' } as const;
    const options = { lazyRefcounts: true, discardNoUnref: true, refcountCacheBytes: 256 * KiB };
    const image = Image.open(file);
    image.setRuntime(options);
    fillGuest(image, 0, 64 * KiB, 7);
    assert.equal(image.describe().dirty, true);
    runToEnd(
      image.amend({ compat: '0.10', refcountBits: undefined, lazyRefcounts: undefined, dataFileRaw: undefined }),
    );
    fillGuest(image, 1 * MiB, 64 * KiB, 7);
    runToEnd(image.discard(guestOffset(0), 64 * KiB));
    image.flush();
    assert.deepEqual([guestBytes(image, 0, 1)[0], guestBytes(image, 1 * MiB, 1)[0]], [0, 7]);
    assert.equal(image.inspect().caches.refcounts?.lengthMax, 256 * KiB);
    const report = runToEnd(image.check());
    assert.deepEqual([report.corruptions, report.leaks, report.allocatedClusters], [0, 0, 16]);
    assert.equal(
      faultCodeOf(() => image.setRuntime(options)),
      'unsupported-option',
    );
    image.close();
    const again = Image.open({ ...file, runtime: options });
    assert.equal(again.inspect().caches.refcounts?.lengthMax, 256 * KiB, 'as when it is opened with them');
    fillGuest(again, 2 * MiB, 64 * KiB, 7);
    assert.equal(again.describe().dirty, false);
    again.close();
  });
});
