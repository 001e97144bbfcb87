// Corruption that is met while an image is used (CHK-17): the same requests fail as with QEMU, and the same of them mark
// the image as corrupt, after which both take no more writes (BIT-I1).

import assert from 'node:assert/strict';
import { copyFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';

import { Fault } from '../../src/base/fault.ts';
import { guestOffset } from '../../src/engine/format/offsets.ts';
import { Image } from '../../src/engine/image.ts';
import { runToEnd } from '../../src/engine/operations/steps.ts';
import { ImageBytes } from '../support/image-bytes.ts';
import { runTool } from '../support/qemu-img.ts';
import { tempFolder } from '../support/temp-folder.ts';
import { owned } from './check/damage.ts';
import { baseImages, makeBase } from './check/images.ts';
import type { BaseName } from './check/images.ts';

/** What is asked for: one guest cluster. */
interface Request {
  readonly verb: 'read' | 'write' | 'discard';
  readonly cluster: number;
}

interface Meeting {
  readonly title: string;
  readonly base: BaseName;
  readonly damage: (image: ImageBytes) => void;
  readonly request: Request;
  /** Where we differ from QEMU on purpose: what we do, and why. */
  readonly ours?: Outcome & { readonly why: string };
}

interface Outcome {
  readonly failed: boolean;
  /** Whether the header says that the image is corrupt. */
  readonly marked: boolean;
}

const entry = (image: ImageBytes, cluster: number, to: (entry: bigint) => bigint): void => {
  image.setU64(image.l2At(cluster), to(image.u64(image.l2At(cluster))));
};

const foundAtOpen =
  'these tables are judged when the image is opened: nothing is changed in it then, not even the mark';

const meetings: readonly Meeting[] = [
  {
    title: 'a write to an entry that names the active L1 table',
    base: 'v3',
    damage: (image) => entry(image, 12, () => owned | BigInt(image.l1Offset)),
    request: { verb: 'write', cluster: 12 },
  },
  {
    title: 'a write to an entry that names its own table',
    base: 'small',
    damage: (image) => entry(image, 12, () => owned | BigInt(image.target(image.l1At(0)))),
    request: { verb: 'write', cluster: 12 },
  },
  {
    title: 'a write to an entry that names a refcount block',
    base: 'v3',
    damage: (image) => entry(image, 12, () => owned | BigInt(image.blockOf(0))),
    request: { verb: 'write', cluster: 12 },
  },
  {
    title: 'a write to an entry that names the snapshot table',
    base: 'v3',
    damage: (image) => entry(image, 12, () => owned | BigInt(image.snapshotAt(0))),
    request: { verb: 'write', cluster: 12 },
  },
  {
    title: 'a read of an entry that names the active L1 table, which harms nobody',
    base: 'v3',
    damage: (image) => entry(image, 12, () => owned | BigInt(image.l1Offset)),
    request: { verb: 'read', cluster: 12 },
  },
  {
    title: 'a read of an entry that does not start on a cluster',
    base: 'v3',
    damage: (image) => entry(image, 12, (value) => value + 512n),
    request: { verb: 'read', cluster: 12 },
  },
  {
    title: 'a write to an entry that does not start on a cluster',
    base: 'extended',
    damage: (image) => entry(image, 12, (value) => value + 512n),
    request: { verb: 'write', cluster: 12 },
  },
  {
    title: 'a discard of an entry that does not start on a cluster',
    base: 'v3',
    damage: (image) => entry(image, 12, (value) => value + 512n),
    request: { verb: 'discard', cluster: 12 },
    ours: { failed: true, marked: true, why: 'QEMU only prints a message, and what the entry meant leaks' },
  },
  {
    title: 'a read through an L1 entry that does not start on a cluster',
    base: 'v3',
    damage: (image) => image.setU64(image.l1At(0), image.u64(image.l1At(0)) + 512n),
    request: { verb: 'read', cluster: 0 },
    ours: { failed: true, marked: false, why: foundAtOpen },
  },
  {
    title: 'a read of a subcluster that is allocated and zero at once (SUB-04, T26)',
    base: 'extended',
    damage: (image) => image.setU64(image.l2At(12) + 8, 0x8000_0000_ffff_ffffn),
    request: { verb: 'read', cluster: 12 },
  },
  {
    title: 'a write to subclusters that are allocated without a place',
    base: 'extended',
    damage: (image) => image.setU64(image.l2At(15) + 8, 1n << 31n),
    request: { verb: 'write', cluster: 15 },
  },
  {
    title: 'a read of the zero flag in version 2 (MAP-05)',
    base: 'v2',
    damage: (image) => entry(image, 12, (value) => value | 1n),
    request: { verb: 'read', cluster: 12 },
  },
  {
    title: 'a first write when the refcount table entry does not start on a cluster',
    base: 'v3',
    damage: (image) => image.setU64(image.tableOffset, image.u64(image.tableOffset) + 512n),
    request: { verb: 'write', cluster: 20 },
    ours: { failed: true, marked: false, why: foundAtOpen },
  },
  {
    title: 'a first write when the refcount of the L2 table is zero',
    base: 'v3',
    damage: (image) => image.setRefcount(image.cluster(image.target(image.l1At(0))), 0),
    request: { verb: 'write', cluster: 20 },
  },
  {
    title: 'a first write when the refcount of the header is zero (MAP-09, T51)',
    base: 'v3',
    damage: (image) => image.setRefcount(0, 0),
    request: { verb: 'write', cluster: 20 },
  },
  {
    title: 'a read of a blob that cannot be unpacked',
    base: 'v3',
    damage: (image) => image.fill(Number(image.u64(image.l2At(8)) & 0x00ff_ffff_ffffn), 40, 0xff),
    request: { verb: 'read', cluster: 8 },
  },
  {
    title: 'a write over a blob whose cluster is counted zero times (REF-06)',
    base: 'v3',
    damage: (image) => image.setRefcount(image.cluster(Number(image.u64(image.l2At(8)) & 0x00ff_ffff_ffffn)), 0),
    request: { verb: 'write', cluster: 8 },
  },
  {
    title: 'a read of an entry that lies far behind the end of the file, which reads as zeroes',
    base: 'v3',
    damage: (image) => entry(image, 12, () => owned | (1n << 40n)),
    request: { verb: 'read', cluster: 12 },
  },
];

let folder: ReturnType<typeof tempFolder>;
const made = new Map<BaseName, string>();

before(() => {
  folder = tempFolder();
});
after(() => {
  folder[Symbol.dispose]();
});

describe('corruption that is met at run time', () => {
  for (const { title, base, damage, request, ours } of meetings) {
    it(`fails and marks the image as with QEMU: ${title}`, () => {
      const path = made.get(base) ?? makeBase(folder.path, baseImages[base]);
      made.set(base, path);
      const bytes = ImageBytes.read(path);
      damage(bytes);
      const [byUs, byQemu] = [join(folder.path, 'by-us.qcow2'), join(folder.path, 'by-qemu.qcow2')];
      bytes.write(byUs);
      copyFileSync(byUs, byQemu);
      const theirs = askQemu(byQemu, request, bytes.clusterSize);
      const outcome = askUs(byUs, request, bytes.clusterSize);
      const { failed, marked } = ours ?? theirs;
      assert.deepEqual(outcome, { failed, marked });
      if (ours !== undefined) assert.notDeepEqual(outcome, theirs, 'a difference is one');
    });
  }
});

function askQemu(path: string, { verb, cluster }: Request, clusterSize: number): Outcome {
  const span = `${cluster * clusterSize} ${clusterSize}`;
  const command = { read: `read ${span}`, write: `write -P 9 ${span}`, discard: `discard ${span}` }[verb];
  const { stdout, stderr } = runTool('qemu-io', ['-f', 'qcow2', '-d', 'unmap', path], `${command}\nquit\n`);
  assert.doesNotMatch(stderr, /open/, 'QEMU opens it');
  return { failed: /failed|error/i.test(stdout), marked: isMarked(path) };
}

function askUs(path: string, { verb, cluster }: Request, clusterSize: number): Outcome {
  const image = Image.open({ path, writable: true, locks: 'qemu', backing: [] });
  const at = guestOffset(cluster * clusterSize);
  const request = (): void => {
    if (verb === 'read') image.read(at, new Uint8Array(clusterSize));
    else if (verb === 'write') image.write(at, new Uint8Array(clusterSize).fill(9), { detectZeroes: false });
    else runToEnd(image.discard(at, clusterSize));
  };
  const failed = !succeeds(request) || !succeeds(() => image.flush());
  succeeds(() => image.close());
  return { failed, marked: isMarked(path) };
}

/** False for corruption; any other failure is one of the test. */
function succeeds(work: () => void): boolean {
  try {
    work();
    return true;
  } catch (error) {
    if (error instanceof Fault && error.kind === 'corrupt') return false;
    throw error;
  }
}

function isMarked(path: string): boolean {
  const image = ImageBytes.read(path);
  return image.version === 3 && (image.u64(72) & 2n) !== 0n;
}
