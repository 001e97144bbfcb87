// Images that the engine does not support yet are refused by name, whoever made them.

import assert from 'node:assert/strict';
import { closeSync, openSync, truncateSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

import { Fault } from '../../src/base/fault.ts';
import { Image } from '../../src/engine/image.ts';
import { qemuImg } from '../support/qemu-img.ts';
import { tempFolder } from '../support/temp-folder.ts';

/** What opening, for reading and for writing, fails with; both times the same. */
function refusal(path: string): Fault {
  const faults = [false, true].map((writable) => {
    try {
      Image.open({ path, writable, locks: 'qemu', backing: [] }).close();
    } catch (error) {
      if (error instanceof Fault) return error;
      throw error;
    }
    return assert.fail(`opened, writable: ${writable}`);
  });
  const [reading, writing] = faults;
  assert.ok(reading !== undefined && writing !== undefined);
  assert.equal(writing.code, reading.code);
  return reading;
}

function patch(path: string, offset: number, bytes: readonly number[]): void {
  const file = openSync(path, 'r+');
  writeSync(file, Uint8Array.from(bytes), 0, bytes.length, offset);
  closeSync(file);
}

function newImage(folder: string, ...options: readonly string[]): string {
  const path = join(folder, 'image.qcow2');
  qemuImg('create', '-q', '-f', 'qcow2', ...options, path, '1M');
  return path;
}

test('refuses an image with an external data file, raw or not', () => {
  for (const raw of ['off', 'on']) {
    using folder = tempFolder();
    const data = join(folder.path, 'data.raw');
    const path = newImage(folder.path, '-o', `data_file=${data},data_file_raw=${raw}`);
    assert.equal(refusal(path).code, 'data-file-refused');
  }
});

test('refuses unknown incompatible bits by the names that the image gives them (BIT-I5)', () => {
  using folder = tempFolder();
  const path = newImage(folder.path);
  patch(path, 72, [0x80, 0, 0, 0, 0, 0, 0, 0x20]);
  // The first two rows of the feature name table at 0x70 now name bits 5 and 63.
  patch(path, 0x78, [0, 5, ...new TextEncoder().encode('time travel'), 0]);
  patch(path, 0x78 + 48, [0, 63, ...new TextEncoder().encode('x'.repeat(46))]);
  const fault = refusal(path);
  assert.equal(fault.code, 'feature-unknown');
  const told = JSON.stringify(fault.context);
  assert.ok(told.includes('time travel'), told);
  assert.ok(told.includes('x'.repeat(46)), told);
});

test('refuses an unknown incompatible bit that the image does not name by its number', () => {
  using folder = tempFolder();
  const path = newImage(folder.path, '-o', 'cluster_size=4k');
  patch(path, 78, [0x01]);
  const fault = refusal(path);
  assert.equal(fault.code, 'feature-unknown');
  assert.ok(JSON.stringify(fault.context).includes('8'));
});

test('refuses a disk of 8 PiB or more by name', () => {
  using folder = tempFolder();
  const path = join(folder.path, 'image.qcow2');
  for (const peta of [8, 9]) {
    qemuImg('create', '-q', '-f', 'qcow2', '-o', 'cluster_size=2M', path, `${peta}P`);
    const fault = refusal(path);
    assert.equal(fault.code, 'virtual-size-too-large');
    assert.equal(fault.context['size'], String(peta * 2 ** 50));
  }
});

test('refuses a backing file that the caller has not named (T81)', () => {
  using folder = tempFolder();
  const base = join(folder.path, 'base.qcow2');
  qemuImg('create', '-q', '-f', 'qcow2', base, '1M');
  const path = newImage(folder.path, '-b', 'base.qcow2', '-F', 'qcow2');
  assert.equal(refusal(path).code, 'backing-refused');
});

test('refuses version 4, a file that is no QCOW2 image, and a file that ends in its header (OPS-01, FMT-01, FMT-03)', () => {
  using folder = tempFolder();
  const path = newImage(folder.path);
  patch(path, 4, [0, 0, 0, 4]);
  assert.equal(refusal(path).code, 'version-unsupported');
  patch(path, 0, [0]);
  assert.equal(refusal(path).code, 'magic-wrong');
  patch(path, 0, [0x51, 0x46, 0x49, 0xfb, 0, 0, 0, 3]);
  truncateSync(path, 50);
  assert.equal(refusal(path).code, 'header-truncated');
});
