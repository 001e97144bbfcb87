// What of an open image is a matter of running it, where the image becomes another one.

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, it } from 'node:test';

import { KiB, MiB } from '../../../src/base/units.ts';
import { guestOffset } from '../../../src/engine/format/offsets.ts';
import { Image } from '../../../src/engine/image.ts';
import { runToEnd } from '../../../src/engine/operations/steps.ts';
import { Fault } from '../../../src/base/fault.ts';
import type { RuntimeOptions } from '../../../src/engine/operations/runtime-options.ts';
import { FaultyFile } from '../../support/faulty-file.ts';
import { faultCodeOf } from '../../support/faults.ts';
import { clean, countsOf, fileBytes, fillGuest, guestBytes, imageOver, newFile } from '../../support/memory-parts.ts';
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

describe('options that cannot take hold', () => {
  const clusterSize = 4096;
  const before: RuntimeOptions = { lazyRefcounts: false, passDiscard: true, refcountCacheBytes: 128 * KiB };
  const other: RuntimeOptions = { lazyRefcounts: true, passDiscard: false, refcountCacheBytes: 256 * KiB };

  /** An image over a file that can fail, run with the options of before, with changes that are not written yet. */
  function running(): { readonly image: Image; readonly file: FaultyFile } {
    const content = newFile({ clusterSize, virtualSize: 4 * MiB });
    const file = new FaultyFile(content, { observer: undefined, ignoresFlush: () => false });
    const image = imageOver(file, undefined);
    image.setRuntime(before);
    fillGuest(image, 0, 4 * clusterSize, 0x77);
    return { image, file };
  }

  /** By what the image does: none of the other options holds. */
  function assertRunsAsBefore(image: Image, file: FaultyFile, note: string): void {
    assert.equal(image.inspect().caches.refcounts?.lengthMax, before.refcountCacheBytes, note);
    fillGuest(image, 2 * MiB, clusterSize, 0x55);
    assert.equal(image.describe().dirty, false, `${note}: refcounts do not lag behind`);
    runToEnd(image.discard(guestOffset(0), 4 * clusterSize));
    image.flush();
    assert.ok(!fileBytes(file.content).includes(0x77), `${note}: the space of a discard goes back`);
    image.close();
    assert.deepEqual(countsOf(file.content), clean, note);
  }

  it('leave all others of the same change, too, where one of them is refused (OPT-15)', () => {
    for (const refused of [{ l2CacheBytes: 1 }, { cacheBytes: MiB, l2CacheBytes: MiB }, { l2CacheEntryBytes: 600 }]) {
      const { image, file } = running();
      const told = faultCodeOf(() => image.setRuntime({ ...other, discardNoUnref: true, ...refused }));
      assert.equal(told, 'unsupported-option');
      // Everything is loaded anew, over caches as they are to be.
      runToEnd(image.repair('leaks'));
      assertRunsAsBefore(image, file, JSON.stringify(refused));
    }
  });

  it('leave those of before where the file fails, at any step (OPT-15)', () => {
    for (const call of ['read', 'write', 'flush'] as const) {
      let after = 0;
      for (; ; after += 1) {
        const { image, file } = running();
        file.failLater({ call, after, fault: new Fault('io-error', {}) });
        const told = faultCodeOf(() => image.setRuntime(other));
        if (!file.takeFailureBack()) {
          assert.equal(told, undefined);
          assert.equal(image.inspect().caches.refcounts?.lengthMax, other.refcountCacheBytes);
          image.close();
          break;
        }
        const note = `${call} ${String(after)}`;
        assert.equal(told, 'io-error', note);
        // After a failed flush nobody writes any more.
        if (call !== 'flush') assertRunsAsBefore(image, file, note);
        else assert.equal(image.inspect().caches.refcounts?.lengthMax, before.refcountCacheBytes, note);
      }
      assert.ok(after > 0, `a ${call} has failed`);
    }
  });
});
