import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { hostOffset } from '../../../src/engine/format/offsets.ts';
import type { CheckReport } from '../../../src/engine/operations/check-report.ts';
import { check } from '../../../src/engine/operations/check.ts';
import { repair } from '../../../src/engine/operations/repair.ts';
import { runToEnd } from '../../../src/engine/operations/steps.ts';
import {
  bytesOf,
  clusterSize,
  guestBytes,
  imageWithSnapshot,
  snapshotsOf,
  soundImage,
  writeSnapshotEntry,
} from '../../support/damaged-image.ts';
import { faultCodeOf } from '../../support/faults.ts';
import { ImageBytes } from '../../support/image-bytes.ts';
import { JournalFile } from '../../support/journal-file.ts';

const owned = 0x8000_0000_0000_0000n;

function repaired(
  image: ImageBytes,
  mode: 'leaks' | 'all',
): { readonly report: CheckReport; readonly image: ImageBytes } {
  const file = new JournalFile(image.bytes);
  const report = runToEnd(repair(file, mode));
  const bytes = new Uint8Array(file.size);
  file.readAt(hostOffset(0), bytes);
  return { report, image: ImageBytes.of(bytes) };
}

/** The feature words of version 3 are an end marker for version 2. */
function ofVersion(image: ImageBytes, version: 2 | 3): ImageBytes {
  image.setU32(4, version);
  return ImageBytes.of(image.bytes);
}

/** A crash leaves the mark "dirty", or nothing that was not wrong before. */
function assertNoWorse(start: { readonly before: ImageBytes; readonly found: CheckReport }, left: ImageBytes): void {
  if (left.version === 3 && (left.u64(72) & 1n) === 1n) return;
  const report = runToEnd(check(new JournalFile(left.bytes)));
  assert.ok(report.corruptions <= start.found.corruptions, `${report.corruptions} corruptions after a crash`);
  assert.ok(report.checkErrors <= start.found.checkErrors, `${report.checkErrors} check errors after a crash`);
}

/** Damages that "all" mends without a rest. */
const mendable: readonly {
  readonly title: string;
  readonly versions: readonly (2 | 3)[];
  readonly damaged: () => ImageBytes;
}[] = [
  {
    title: 'refcounts wrong both ways',
    versions: [2, 3],
    damaged: () => {
      const image = imageWithSnapshot();
      image.setRefcount(image.cluster(image.target(image.l2At(1))), 1);
      image.setRefcount(image.cluster(image.target(image.l2At(2))), 7);
      return image;
    },
  },
  {
    title: 'refcounts that were never written',
    versions: [2, 3],
    damaged: () => {
      const image = imageWithSnapshot();
      for (let cluster = 1; cluster < image.endCluster; cluster += 1) image.setRefcount(cluster, 0);
      image.setU64(72, 1n);
      return image;
    },
  },
  {
    title: 'a refcount block that is also data',
    versions: [2, 3],
    damaged: () => {
      const image = soundImage();
      image.setU64(image.tableOffset, BigInt(image.target(image.l2At(5))));
      return image;
    },
  },
  {
    title: 'no refcount table at all',
    versions: [2, 3],
    damaged: () => {
      const image = imageWithSnapshot();
      image.setU32(56, 0);
      return image;
    },
  },
  {
    title: 'owned flags turned around',
    versions: [2, 3],
    damaged: () => {
      const image = soundImage();
      for (const at of [image.l1At(0), image.l2At(0), image.l2At(9)]) image.setU64(at, image.u64(at) ^ owned);
      return image;
    },
  },
  {
    title: 'an incomplete snapshot entry and the mark "corrupt"',
    versions: [3],
    damaged: () => {
      const image = imageWithSnapshot();
      const at = image.snapshotAt(0);
      const l1Offset = Number(image.u64(at));
      image.fill(at, 128, 0);
      writeSnapshotEntry(image, { at, l1Offset, l1Entries: 1, extraLength: 8 });
      image.setU64(72, 2n);
      return image;
    },
  },
  {
    title: 'a snapshot entry with too much extra data',
    versions: [2, 3],
    damaged: () => {
      const image = imageWithSnapshot();
      const at = image.snapshotAt(0);
      const l1Offset = Number(image.u64(at));
      image.fill(at, 128, 0);
      writeSnapshotEntry(image, { at, l1Offset, l1Entries: 1, extraLength: 1500 });
      return image;
    },
  },
];

describe('a repair', () => {
  const cases = mendable.flatMap(({ versions, ...rest }) => versions.map((version) => ({ ...rest, version })));
  for (const { title, version, damaged } of cases) {
    test(`mends ${title} (version ${version})`, () => {
      const before = ofVersion(damaged(), version);
      const { report, image } = repaired(before, 'all');
      assert.equal(report.clean, true);
      assert.ok(report.corruptionsFixed + report.leaksFixed > 0);
      assert.deepEqual(guestBytes(image), guestBytes(before));
      assert.deepEqual(snapshotsOf(image), snapshotsOf(before));
      if (version === 3) assert.equal(image.u64(72), 0n, 'the marks are gone');
      assert.equal(runToEnd(check(new JournalFile(image.bytes))).clean, true);
    });

    test(`can be cut off anywhere while it mends ${title} (version ${version})`, () => {
      const before = ofVersion(damaged(), version);
      const file = new JournalFile(before.bytes);
      runToEnd(repair(file, 'all'));
      const found = runToEnd(check(new JournalFile(before.bytes)));
      let crashes = 0;
      for (const left of file.crashes()) {
        assertNoWorse({ before, found }, ImageBytes.of(bytesOf(left)));
        const again = repaired(ImageBytes.of(bytesOf(left)), 'all');
        assert.equal(again.report.clean, true, `crash ${crashes}`);
        assert.deepEqual(guestBytes(again.image), guestBytes(before), `crash ${crashes}`);
        assert.deepEqual(snapshotsOf(again.image), snapshotsOf(before), `crash ${crashes}`);
        crashes += 1;
      }
      assert.ok(crashes > 0);
    });
  }

  test('lowers a leak, empties the cluster and touches nothing else with "leaks" (CHK-04)', () => {
    const before = soundImage();
    const leak = before.endCluster;
    before.resize((leak + 1) * clusterSize);
    before.fill(leak * clusterSize, clusterSize, 0xcc);
    before.setRefcount(leak, 1);
    const { report, image } = repaired(before, 'leaks');
    assert.deepEqual([report.clean, report.leaksFixed, report.corruptionsFixed], [true, 1, 0]);
    before.setRefcount(leak, 0);
    before.fill(leak * clusterSize, clusterSize, 0);
    assert.deepEqual(image.bytes, before.bytes);
  });

  test('leaves a refcount that is too low to "all" (CHK-05)', () => {
    const before = imageWithSnapshot();
    before.setRefcount(before.cluster(before.target(before.l2At(1))), 1);
    const { report } = repaired(before, 'leaks');
    assert.equal(report.clean, false);
    assert.equal(report.corruptionsFixed, 0);
    assert.ok(report.corruptions > 0);
  });

  test('says that "leaks" cannot build refcounts anew, and writes nothing (CHK-06, T79)', () => {
    const before = soundImage();
    before.setRefcount(before.cluster(before.target(before.l2At(1))), 0);
    const { report, image } = repaired(before, 'leaks');
    assert.equal(report.checkErrors, 1);
    assert.ok(report.findings.some(({ message }) => message.includes('"all"')));
    assert.deepEqual(image.bytes, before.bytes);
  });

  test('keeps the bytes of a leak while an entry is broken that may have meant it', () => {
    const before = soundImage();
    const place = before.target(before.l2At(4));
    before.setU64(before.l2At(4), owned | BigInt((before.endCluster + 50) * clusterSize));
    const { report, image } = repaired(before, 'all');
    assert.equal(report.leaksFixed, 1);
    assert.equal(report.corruptions, 1);
    assert.equal(image.bytes[place], 5);
  });

  test('gives no cluster away that an entry past the end of the file names', () => {
    const before = soundImage();
    const named = before.endCluster * clusterSize;
    // The old refcount structures are gone, and everything inside the file is in use: new ones go behind its end.
    before.setU64(before.l2At(20), owned | BigInt(named));
    before.setU64(before.l2At(21), owned | BigInt(before.tableOffset));
    before.setU64(before.l2At(22), owned | BigInt(before.blockOf(0)));
    before.setU32(56, 0);
    const { report, image } = repaired(before, 'all');
    assert.equal(report.clean, true);
    assert.ok(image.length > named + clusterSize);
    assert.notEqual(image.tableOffset, named);
    assert.notEqual(image.blockOf(0), named);
    assert.equal(image.refcount(image.cluster(named)), 1);
  });

  test('drops snapshots beyond the limit and frees what they had (CHK-12)', () => {
    const before = imageWithSnapshot();
    before.setU32(4, 2);
    const version2 = ImageBytes.of(before.bytes);
    version2.setU32(60, 65_537);
    const { report, image } = repaired(version2, 'all');
    assert.equal(report.checkErrors, 0);
    assert.ok(image.u32(60) <= 65_536);
    assert.deepEqual(guestBytes(image), guestBytes(before));
  });

  test('drops all snapshots where there are too many and no table (CHK-12)', () => {
    const sound = soundImage();
    const before = ImageBytes.of(sound.bytes);
    before.setU32(60, 0x2000_0000);
    const { report, image } = repaired(before, 'all');
    assert.deepEqual([report.clean, report.corruptionsFixed], [true, 0x2000_0000]);
    assert.deepEqual(image.bytes, sound.bytes);
  });

  test('refuses features that may own clusters', () => {
    const image = soundImage();
    image.setU64(88, 0x80n);
    assert.equal(
      faultCodeOf(() => repaired(image, 'leaks')),
      'feature-unknown',
    );
  });
});
