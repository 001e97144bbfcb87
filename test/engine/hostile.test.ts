// Hostile images: whatever is in the file, opening, reading, checking and admitting it ends soon with a fault or a
// report, takes little memory, and opening and checking change nothing.

import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

import type { FaultCode } from '../../src/base/fault-codes.ts';
import { KiB, MiB } from '../../src/base/units.ts';
import { guestOffset } from '../../src/engine/format/offsets.ts';
import { Image } from '../../src/engine/image.ts';
import { runToEnd } from '../../src/engine/operations/steps.ts';
import { faultCodeOf } from '../support/faults.ts';
import { commonChoice, soundChoices, soundImage } from '../support/hostile-image.ts';
import { hostileImages } from '../support/hostile-images.ts';
import { tempFolder } from '../support/temp-folder.ts';

/** Ten times what each verb may take: a watchdog, not a measurement. */
const patienceMs = 10_000;
/** What a verb may leave in use; and what the process may take while it runs, garbage included. */
const memoryGrowthMax = 64 * MiB;
const peakGrowthMax = 192 * MiB;
/** Guest bytes to read at the start and at the end of a disk. */
const readLength = 2 * MiB;

for (const [name, choice] of soundChoices) {
  test(`what the hostile images are made of is sound: ${name}`, () => {
    using folder = tempFolder();
    const path = join(folder.path, 'sound.qcow2');
    writeFileSync(path, soundImage({ ...commonChoice, ...choice }).bytes);
    const image = Image.open({ path, writable: false, locks: 'qemu', backing: [] });
    try {
      const cluster = image.describe().clusterSize;
      const disk = new Uint8Array(image.virtualSize);
      image.read(guestOffset(0), disk);
      const expected = new Uint8Array(image.virtualSize);
      [0x11, 0x22, 0x33, 0x33].forEach((value, index) => {
        expected.fill(value, index * cluster, (index + 1) * cluster);
      });
      assert.deepEqual(disk, expected);
      image.readSnapshot('abc', guestOffset(0), disk);
      assert.deepEqual(disk, expected);
      assert.deepEqual(runToEnd(image.check()).findings, []);
    } finally {
      image.close();
    }
  });
}

test('there are enough hostile images, small ones, each with an id of its own', () => {
  assert.ok(hostileImages.length >= 80);
  assert.equal(new Set(hostileImages.map(({ id }) => id)).size, hostileImages.length);
  assert.ok(hostileImages.every(({ bytes }) => bytes.length <= MiB));
});

for (const { id, bytes, openFault } of hostileImages) {
  test(`survives ${id}`, () => {
    using folder = tempFolder();
    const path = join(folder.path, 'hostile.qcow2');
    writeFileSync(path, bytes);

    watched(() => {
      useReadOnly(path);
    });
    assert.equal(Buffer.compare(readFileSync(path), bytes), 0, 'opening, reading and checking change nothing');

    // A check must get at broken tables (OPS-02), so some images open, and then only a check works.
    const used = watched(() => {
      useToWrite(path);
    });
    if (openFault !== undefined) assert.equal(used, openFault);
    writeFileSync(path, bytes);

    watched(() => runToEnd(Image.admit({ path, locks: 'qemu', backing: undefined, below: [], repair: 'none' })));
    writeFileSync(path, bytes);
    watched(() => runToEnd(Image.admit({ path, locks: 'qemu', backing: undefined, below: [], repair: 'all' })));
  });
}

function useToWrite(path: string): void {
  const image = Image.open({ path, writable: true, locks: 'qemu', backing: [] });
  try {
    image.read(guestOffset(0), new Uint8Array(0));
    image.write(guestOffset(0), new Uint8Array(Math.min(image.virtualSize, 512)).fill(1), { detectZeroes: false });
  } finally {
    image.close();
  }
}

/** Opens and does everything that only reads; each verb on its own, so that a fault in one does not hide another. */
function useReadOnly(path: string): void {
  const image = Image.open({ path, writable: false, locks: 'qemu', backing: [] });
  try {
    const size = image.virtualSize;
    const target = new Uint8Array(Math.min(size, readLength));
    watched(() => image.describe());
    watched(() => image.snapshots({ from: 0, limit: 1000 }));
    watched(() => {
      image.read(guestOffset(0), target);
    });
    watched(() => {
      image.read(guestOffset(size - target.length), target);
    });
    const query = { offset: 0, length: size, limit: 1000, layer: 'all', hostOffsets: true } as const;
    if (size > 0) watched(() => image.extents(query));
    watched(() => {
      image.readSnapshot('1', guestOffset(0), target.subarray(0, 512));
    });
    watched(() => runToEnd(image.check()));
  } finally {
    image.close();
  }
}

/** Runs one verb: a value or a fault, in time, in little memory. Returns the code of the fault. */
function watched(verb: () => unknown): FaultCode | undefined {
  const memoryBefore = memoryInUse();
  const peakBefore = peakMemory();
  const startedMs = processorMs();
  const code = faultCodeOf(verb);
  assert.ok(processorMs() - startedMs < patienceMs, 'the verb ends soon');
  if (memoryInUse() - memoryBefore > memoryGrowthMax) collectGarbage();
  assert.ok(memoryInUse() - memoryBefore <= memoryGrowthMax, 'the verb leaves little memory in use');
  assert.ok(peakMemory() - peakBefore <= peakGrowthMax, 'the verb takes little memory');
  return code;
}

/** Processor time, so that other work on the machine does not count. */
function processorMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

/** Bytes of the heap and of buffers outside it, garbage included. */
function memoryInUse(): number {
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

function collectGarbage(): void {
  setFlagsFromString('--expose-gc');
  runInNewContext('gc()');
}

/** The most bytes that the process has had in memory so far. */
function peakMemory(): number {
  return process.resourceUsage().maxRSS * KiB;
}
