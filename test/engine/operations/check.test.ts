import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { MemoryFile } from '../../../src/engine/file/memory-file.ts';
import { findingsMax } from '../../../src/engine/operations/check-report.ts';
import type { CheckReport } from '../../../src/engine/operations/check-report.ts';
import { check } from '../../../src/engine/operations/check.ts';
import { repair } from '../../../src/engine/operations/repair.ts';
import { runToEnd } from '../../../src/engine/operations/steps.ts';
import {
  clusterSize,
  guestClusters,
  imageWithSnapshot,
  soundImage,
  writeSnapshotEntry,
} from '../../support/damaged-image.ts';
import { faultCodeOf } from '../../support/faults.ts';
import type { ImageBytes } from '../../support/image-bytes.ts';
import { JournalFile } from '../../support/journal-file.ts';

const owned = 0x8000_0000_0000_0000n;

function checked(image: ImageBytes): CheckReport {
  const file = new JournalFile(image.bytes);
  const report = runToEnd(check(file));
  assert.deepEqual(file.journal, [], 'a check writes nothing');
  return report;
}

describe('a check', () => {
  test('finds nothing in a sound image', () => {
    const { findings, ...counters } = checked(soundImage());
    assert.deepEqual(findings, []);
    assert.deepEqual(counters, {
      checkErrors: 0,
      corruptions: 0,
      leaks: 0,
      corruptionsFixed: 0,
      leaksFixed: 0,
      imageEndOffset: 21 * clusterSize,
      totalClusters: guestClusters,
      allocatedClusters: guestClusters,
      fragmentedClusters: 0,
      compressedClusters: 0,
      clean: true,
    });
  });

  test('finds nothing in a sound image with a snapshot', () => {
    assert.equal(checked(imageWithSnapshot()).clean, true);
  });

  test('tells no place that a number does not hold exactly', () => {
    const image = imageWithSnapshot();
    image.setU64(image.snapshotAt(0), 2n ** 63n);
    const [finding] = checked(image).findings;
    assert.equal(finding?.kind, 'corruption');
    assert.equal(finding.hostOffset, undefined);
  });

  test('tells a snapshot whose sizes are beyond our limits, and no repair touches it (LIM-05)', () => {
    for (const [field, value, message] of [
      [40, 2n ** 53n, /^Snapshot table entry 0 has a VM state of 8 PiB or more/],
      [48, 2n ** 53n, /^Snapshot table entry 0 is of a disk larger than/],
      [48, 2n ** 53n - 1n, /^Snapshot table entry 0 is of a disk larger than/],
    ] as const) {
      const image = imageWithSnapshot();
      image.setU64(image.snapshotAt(0) + field, value);
      const { checkErrors, corruptions, clean, findings } = checked(image);
      assert.deepEqual([checkErrors, corruptions, clean], [1, 0, false]);
      assert.match(findings[0]?.message ?? '', message);
      for (const mode of ['leaks', 'all'] as const) {
        const file = new JournalFile(image.bytes);
        const report = runToEnd(repair(file, mode));
        assert.deepEqual([report.checkErrors, report.corruptionsFixed, report.leaksFixed], [1, 0, 0]);
        assert.deepEqual(file.journal, [], 'a repair writes nothing');
      }
    }
    const image = imageWithSnapshot();
    image.setU64(image.snapshotAt(0) + 40, 2n ** 53n - 1n);
    assert.equal(checked(image).clean, true);
  });

  test('tells a leak with its place', () => {
    const image = soundImage();
    const place = image.target(image.l2At(3));
    image.setRefcount(image.cluster(place), 3);
    const report = checked(image);
    // The flag of the entry is wrong too: it is set and the refcount is not 1.
    assert.deepEqual([report.leaks, report.corruptions], [1, 1]);
    assert.deepEqual(report.findings[0], {
      kind: 'leak',
      hostOffset: place,
      message: `Host cluster ${image.cluster(place)} has refcount 3 and 1 references.`,
    });
    assert.equal(report.findings[1]?.guestOffset, 3 * clusterSize);
  });

  test('counts a damaged entry once for every tree that reaches it', () => {
    const image = imageWithSnapshot();
    image.setU64(image.l2At(2), image.u64(image.l2At(2)) | 0x10n);
    assert.equal(checked(image).corruptions, 2);
  });

  test('keeps its findings short and its counters exact', () => {
    const image = soundImage();
    for (let guest = 0; guest < 512; guest += 1) image.setU64(image.l2At(guest), 0x0100_0000_0000_0000n);
    const report = checked(image);
    assert.equal(report.corruptions, 512);
    assert.equal(report.findings.length, findingsMax);
  });

  test('counts what lies inside the file of a table that reaches past its end', () => {
    const image = soundImage();
    image.setU32(36, (100 * clusterSize) / 8);
    image.fill(image.l1Offset + 8, clusterSize - 8, 0);
    const report = checked(image);
    assert.equal(
      report.findings.some(({ kind, hostOffset }) => kind === 'leak' && hostOffset === image.l1Offset),
      false,
    );
    assert.ok(report.findings.some(({ message }) => message.includes('active L1 table reaches past the end')));
  });

  test('refuses features that it does not know', () => {
    const image = soundImage();
    image.setU64(72, 0x100n);
    assert.equal(
      faultCodeOf(() => checked(image)),
      'feature-unknown',
    );
  });

  test('says why it cannot count more snapshots than there can be', () => {
    const image = imageWithSnapshot();
    image.setU32(60, 65_537);
    const report = checked(image);
    assert.equal(report.checkErrors, 1);
    assert.match(report.findings[0]?.message ?? '', /65537 snapshots/);
  });

  test('counts no more than 2^31 - 1 clusters (CHK-18)', () => {
    const file = MemoryFile.of(soundImage().bytes);
    file.resize(2 ** 31 * clusterSize);
    const report = runToEnd(check(file));
    assert.deepEqual([report.checkErrors, report.corruptions, report.leaks], [1, 0, 0]);
    assert.match(report.findings[0]?.message ?? '', /more than 2147483647 clusters/);
  });

  test('reads each place a few times only, however many tables lie over it', () => {
    const image = soundImage();
    const snapshots = 2000;
    const table = image.endCluster * clusterSize;
    image.resize(table + Math.ceil((snapshots * 64) / clusterSize) * clusterSize + 64 * clusterSize);
    // Every snapshot has an L1 table of another length over the same clusters, all full of entries.
    const tables = image.length - 64 * clusterSize;
    for (let at = tables; at < image.length; at += 8) image.setU64(at, BigInt(image.target(image.l1At(0))));
    for (let index = 0; index < snapshots; index += 1) {
      const l1Entries = (64 * clusterSize) / 8 - index;
      writeSnapshotEntry(image, { at: table + index * 64, l1Offset: tables, l1Entries, extraLength: 16 });
    }
    image.setU32(60, snapshots);
    image.setU64(64, BigInt(table));
    const file = new JournalFile(image.bytes);
    const report = runToEnd(check(file));
    assert.ok(report.corruptions > 0);
    assert.ok(file.bytesRead < 4 * file.size + 2 ** 21, `${file.bytesRead} bytes read of ${file.size}`);
  });

  test('goes on in bounded steps', () => {
    const image = soundImage();
    const l2Tables = 1500;
    const first = image.endCluster;
    image.resize((first + l2Tables + 3) * clusterSize);
    image.setU64(40, BigInt((first + l2Tables) * clusterSize));
    image.setU32(36, l2Tables);
    for (let index = 0; index < l2Tables; index += 1) {
      image.setU64(image.l1At(index), owned | BigInt((first + index) * clusterSize));
    }
    const steps = check(new JournalFile(image.bytes));
    let pauses = 0;
    let last = 0;
    for (let next = steps.next(); next.done !== true; next = steps.next()) {
      assert.ok(next.value.done <= next.value.total, 'progress stays below its total');
      assert.ok(next.value.done !== last, 'a step makes progress');
      last = next.value.done;
      pauses += 1;
    }
    assert.ok(pauses >= 2, `${pauses} pauses`);
  });
});
