// Snapshots: taken, deleted, reverted to, and given up at every step and at every write.

import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { describe, it } from 'node:test';

import { Fault } from '../../../src/base/fault.ts';
import { MemoryFile } from '../../../src/engine/file/memory-file.ts';
import { guestOffset } from '../../../src/engine/format/offsets.ts';
import type { CreateSpec, Image, Steps } from '../../../src/engine/image.ts';
import { runToEnd } from '../../../src/engine/operations/steps.ts';
import { bytesOf } from '../../support/damaged-image.ts';
import { faultCodeOf } from '../../support/faults.ts';
import { FaultyFile } from '../../support/faulty-file.ts';
import { ImageBytes } from '../../support/image-bytes.ts';
import { clean, countsOf, fillGuest, guestBytes, imageOver, newFile } from '../../support/memory-parts.ts';

const cluster = 4096;
const size = 40 * cluster;

function take(image: Image, name: string): void {
  runToEnd(image.createSnapshot({ name, seconds: 5, nanoseconds: 6, idFloor: 1 }));
}

/** An image with two snapshots, 'one' with VM state and 'two', and something else in the live disk. */
function prepare(change: Partial<CreateSpec>): MemoryFile {
  const file = newFile({ virtualSize: size, clusterSize: cluster, ...change });
  const image = imageOver(file, undefined);
  fillGuest(image, 0, 10 * cluster, 1);
  take(image, 'one');
  runToEnd(image.writeVmState('one', MemoryFile.of(new Uint8Array(5 * cluster + 1).fill(7))));
  fillGuest(image, 3 * cluster + 100, 5 * cluster, 2);
  runToEnd(image.zero(guestOffset(20 * cluster), cluster, { unmap: false }));
  take(image, 'two');
  fillGuest(image, 0, cluster, 3);
  fillGuest(image, 30 * cluster, 2 * cluster, 4);
  image.close();
  return file;
}

/** All that a reader can see: the disk, and every snapshot with its name. */
function everything(image: Image): readonly (readonly [string, string])[] {
  const hex = (bytes: Uint8Array): string => hash('sha1', bytes, 'hex');
  return [
    ['live', hex(guestBytes(image, 0, image.virtualSize))],
    ...image.snapshots({ from: 0, limit: 1000 }).map((snapshot): readonly [string, string] => {
      const { id, name, virtualSize, vmStateSize } = snapshot;
      const bytes = new Uint8Array(virtualSize);
      image.readSnapshot(id, guestOffset(0), bytes);
      const state = new Uint8Array(vmStateSize);
      image.readVmState(id, 0, state);
      return [`${id} ${name} ${hex(state)}`, hex(bytes)];
    }),
  ];
}

function look(file: MemoryFile): readonly (readonly [string, string])[] {
  const image = imageOver(file.fork(), undefined);
  const found = everything(image);
  image.abandon();
  return found;
}

const verbs: readonly (readonly [string, (image: Image) => Steps<unknown>])[] = [
  ['create', (image) => image.createSnapshot({ name: 'three', seconds: 0, nanoseconds: 0, idFloor: 1 })],
  ['delete', (image) => image.deleteSnapshot('one')],
  ['revert', (image) => image.revertSnapshot('one')],
  ['write VM state', (image) => image.writeVmState('one', MemoryFile.of(vmState))],
];

/** Several pieces, some of them zeroes. */
const vmState = new Uint8Array(3 * 1024 ** 2 + 77).map((_, at) => (at % 300_000 < 280_000 ? 0 : at % 251));

const kinds: readonly (readonly [string, Partial<CreateSpec>])[] = [
  ['standard entries', {}],
  ['version 2', { compat: '0.10' }],
  ['extended entries', { extendedL2: true, clusterSize: 16_384, virtualSize: 40 * 16_384 }],
  ['small clusters', { clusterSize: 512, refcountBits: 64 }],
];

describe('snapshots', () => {
  for (const [kind, change] of kinds) {
    it(`keep what the disk held, whatever is written later (OPS-30): ${kind}`, () => {
      const file = prepare(change);
      assert.deepEqual(countsOf(file), clean);
      const image = imageOver(file, undefined);
      const [, one, two] = everything(image);
      fillGuest(image, 0, image.virtualSize, 9);
      image.flush();
      assert.deepEqual(everything(image).slice(1), [one, two]);
      runToEnd(image.revertSnapshot('one'));
      assert.equal(everything(image)[0]?.[1], one?.[1]);
      runToEnd(image.deleteSnapshot('one'));
      runToEnd(image.revertSnapshot('two'));
      assert.equal(everything(image)[0]?.[1], two?.[1]);
      runToEnd(image.deleteSnapshot('two'));
      assert.deepEqual(image.snapshots({ from: 0, limit: 1000 }), []);
      image.close();
      assert.deepEqual(countsOf(file), clean);
    });
  }

  it('go by id before name, and by nothing else (OPS-27, T72)', () => {
    const image = imageOver(prepare({}), undefined);
    take(image, '1');
    assert.deepEqual(
      image.snapshots({ from: 0, limit: 1000 }).map(({ id, name }) => [id, name]),
      [
        ['1', 'one'],
        ['2', 'two'],
        ['3', '1'],
      ],
    );
    runToEnd(image.deleteSnapshot('1'));
    assert.deepEqual(
      image.snapshots({ from: 0, limit: 1000 }).map(({ name }) => name),
      ['two', '1'],
    );
    for (const verb of ['deleteSnapshot', 'revertSnapshot'] as const) {
      assert.equal(
        faultCodeOf(() => runToEnd(image[verb]('none'))),
        'snapshot-not-found',
      );
    }
    assert.equal(runToEnd(image.createSnapshot({ name: 'x', seconds: 0, nanoseconds: 0, idFloor: 70 })).id, '70');
  });

  it('that are gone are not read any more, also between the steps of their deletion', () => {
    const file = newFile({ virtualSize: 4096 * 512 * 80, clusterSize: 4096 });
    const image = imageOver(file, undefined);
    for (let table = 0; table < 80; table += 1) fillGuest(image, table * 4096 * 512, 4096, 1 + table);
    take(image, 'one');
    image.readSnapshot('one', guestOffset(0), new Uint8Array(512));
    const steps = image.deleteSnapshot('one');
    assert.equal(steps.next().done, false);
    assert.equal(
      faultCodeOf(() => {
        image.readSnapshot('one', guestOffset(0), new Uint8Array(512));
      }),
      'snapshot-not-found',
    );
    while (steps.next().done !== true);
    image.close();
    assert.deepEqual(countsOf(file), clean);
  });

  it('of a disk without bytes come and go', () => {
    const file = newFile({ virtualSize: 0 });
    const image = imageOver(file, undefined);
    take(image, 'one');
    runToEnd(image.revertSnapshot('one'));
    image.flush();
    assert.deepEqual(countsOf(file), clean);
    runToEnd(image.deleteSnapshot('one'));
    image.close();
    assert.deepEqual(countsOf(file), clean);
  });

  it('are refused when a cluster cannot be counted once more, and nothing is changed', () => {
    const file = newFile({ refcountBits: 1 });
    const image = imageOver(file, undefined);
    fillGuest(image, 0, 20_000, 7);
    image.flush();
    const before = everything(image);
    assert.equal(
      faultCodeOf(() => {
        take(image, 'one');
      }),
      'refcount-overflow',
    );
    assert.deepEqual(everything(image), before);
    fillGuest(image, 5000, 5000, 8);
    image.close();
    assert.deepEqual(countsOf(file), clean);
  });

  it('are refused as corruption when a table names a cluster that nothing counts', () => {
    const file = newFile({});
    const image = imageOver(file, undefined);
    fillGuest(image, 0, 20_000, 7);
    image.close();
    const damaged = ImageBytes.of(bytesOf(file));
    damaged.setU64(damaged.l2At(1), damaged.u64(damaged.l2At(1)) + 2n ** 40n);
    const opened = imageOver(MemoryFile.of(damaged.bytes), undefined);
    for (const code of ['host-offset-invalid', 'image-marked-corrupt']) {
      assert.equal(
        faultCodeOf(() => {
          take(opened, 'one');
        }),
        code,
      );
    }
    assert.deepEqual(opened.snapshots({ from: 0, limit: 1000 }), []);
  });

  it('give back all that they held, in trees of large tables in pieces', () => {
    // A table of 128 slices, every second entry in use: more drops than one flush waits for, in the middle of a table.
    const large = 512 * 1024;
    const file = newFile({ virtualSize: large * 65_536, clusterSize: large, preallocation: 'metadata' });
    let image = imageOver(file, undefined);
    for (let index = 0; index < 24_000; index += 2) runToEnd(image.discard(guestOffset(index * large), large));
    take(image, 'one');
    runToEnd(image.discard(guestOffset(0), image.virtualSize));
    image.close();
    // Opened anew, nothing of the table is in the cache.
    image = imageOver(file, undefined);
    runToEnd(image.deleteSnapshot('one'));
    image.close();
    assert.deepEqual(countsOf(file), clean);
  });
});

describe('a snapshot verb that is cancelled', () => {
  /** More tables than one step visits. */
  function large(): MemoryFile {
    const file = newFile({ virtualSize: 512 * 64 * 200, clusterSize: 512 });
    const image = imageOver(file, undefined);
    for (let table = 0; table < 200; table += 1) fillGuest(image, table * 512 * 64, 700, 1 + (table % 250));
    take(image, 'one');
    for (let table = 0; table < 200; table += 3) fillGuest(image, table * 512 * 64, 100, 255);
    image.close();
    return file;
  }

  for (const [verb, start] of verbs) {
    it(`leaves the old state or the new one, and a clean file, at every step: ${verb}`, () => {
      const before = large();
      const old = look(before);
      let stepsOfAll = 0;
      for (let stop = 0; ; stop += 1) {
        const file = before.fork();
        const image = imageOver(file, undefined);
        const steps = start(image);
        let ended = false;
        for (let step = 0; step <= stop && !ended; step += 1) ended = steps.next().done === true;
        if (ended) break;
        stepsOfAll += 1;
        let next = steps.return(undefined);
        while (next.done !== true) next = steps.next();
        const found = everything(image);
        const isOld = JSON.stringify(found) === JSON.stringify(old);
        assert.ok(isOld || verb !== 'create', 'a snapshot that was given up is not there');
        fillGuest(image, 100, 5000, 99);
        image.close();
        assert.deepEqual(countsOf(file), clean, `step ${String(stop)}`);
        assert.deepEqual(look(file).slice(1), found.slice(1));
      }
      assert.ok(stepsOfAll >= 3, `there are steps: ${String(stepsOfAll)}`);
    });
  }
});

describe('a snapshot verb that meets a full disk', () => {
  for (const [kind, change] of kinds) {
    for (const [verb, start] of verbs) {
      it(`loses nothing, whichever write fails: ${verb}, ${kind}`, () => {
        const before = prepare(change);
        const old = look(before);
        const whole = before.fork();
        const wholeImage = imageOver(whole, undefined);
        runToEnd(start(wholeImage));
        wholeImage.close();
        const done = look(whole);
        for (let after = 0; ; after += 1) {
          const file = new FaultyFile(before, { observer: undefined, ignoresFlush: () => false });
          const image = imageOver(file, undefined);
          file.failLater({ call: 'write', after, fault: new Fault('insufficient-storage', {}) });
          const code = faultCodeOf(() => runToEnd(start(image)));
          const hasFailed = file.takeFailureBack();
          if (!hasFailed) break;
          const found = JSON.stringify(everything(image));
          const isOld = found === JSON.stringify(old);
          assert.ok(isOld || found === JSON.stringify(done), `write ${String(after)}: old or new, nothing between`);
          assert.ok(code === 'insufficient-storage' || !isOld);
          image.close();
          assert.equal(JSON.stringify(look(file.content)), found, `write ${String(after)}: what was seen is stored`);
          const { corruptions } = countsOf(file.content);
          assert.equal(corruptions === 0 || !isOld, true, `write ${String(after)}: ${String(corruptions)} corruptions`);
        }
      });
    }
  }
});
