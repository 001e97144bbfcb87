// Copies of images: what is read, packed and passed on, and that the copy shows what its source shows.

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, it } from 'node:test';

import { guestOffset } from '../../../src/engine/format/offsets.ts';
import { Image } from '../../../src/engine/image.ts';
import type { BackingFile, CreateSpec } from '../../../src/engine/image.ts';
import { runToEnd } from '../../../src/engine/operations/steps.ts';
import { ImageBytes } from '../../support/image-bytes.ts';
import { specOf } from '../../support/memory-image-spec.ts';
import { Prng } from '../../support/prng.ts';
import { tempFolder } from '../../support/temp-folder.ts';

const cluster = 4096;
const spec: CreateSpec = { ...specOf(600 * cluster + 512), clusterSize: cluster };

function open(path: string, backing: readonly BackingFile[] = []): Image {
  return Image.open({ path, writable: true, locks: 'none', backing });
}

function make(path: string, more: Partial<CreateSpec> = {}, backing: readonly BackingFile[] = []): Image {
  runToEnd(Image.create(path, { ...spec, ...more }));
  return open(path, backing);
}

/** Bytes that shrink to a half. */
function half(seed: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length).fill(seed);
  const chance = new Prng(seed);
  for (let at = 0; at < length; at += cluster) bytes.set(chance.bytes(Math.min(cluster / 2, length - at)), at);
  return bytes;
}

function pack(image: Image, at: number, bytes: Uint8Array): void {
  runToEnd(image.writeCompressed(guestOffset(at), bytes, { detectZeroes: false }));
}

function bytesOf(image: Image): Buffer {
  const bytes = Buffer.alloc(image.virtualSize);
  image.read(guestOffset(0), bytes);
  return bytes;
}

/** Copies, getting further towards all of the disk, and tells what others were asked for on the way. */
function copy(
  source: Image,
  path: string,
  wish: { readonly spec?: Partial<CreateSpec>; readonly compress: boolean; readonly layer?: 'top' },
): readonly string[] {
  const asked: string[] = [];
  const { spec: more, compress, layer = 'all' } = wish;
  let before = 0;
  const steps = source.copyTo({ path, spec: { ...spec, ...more }, compress, layer, snapshot: undefined });
  for (const { asks, done, total } of steps) {
    assert.ok(total === source.virtualSize && before <= done, `${done} of ${total} after ${before}`);
    before = done;
    if (asks !== undefined) asked.push(asks.task.kind);
  }
  return asked;
}

/** The copy is sound and shows the same; how many of its clusters are packed. */
function judge(path: string, expected: Buffer): number {
  const image = open(path);
  assert.equal(Buffer.compare(bytesOf(image), expected), 0);
  const report = runToEnd(image.check());
  assert.equal(report.clean, true);
  image.close();
  return report.compressedClusters;
}

for (const compressionType of ['zlib', 'zstd'] as const) {
  describe(`a packed copy of a packed image (${compressionType})`, () => {
    it('passes clusters on as they are, and leaves out those of zeroes', () => {
      using folder = tempFolder();
      const source = make(join(folder.path, 'source'), { compressionType });
      pack(source, 0, half(1, 300 * cluster));
      pack(source, 300 * cluster, new Uint8Array(10 * cluster));
      pack(source, 400 * cluster, half(2, 3 * cluster));
      const target = join(folder.path, 'target');
      assert.deepEqual(copy(source, target, { compress: true, spec: { compressionType } }), ['trim', 'trim', 'trim']);
      assert.equal(judge(target, bytesOf(source)), 303);
      // The same blobs again: a copy of the copy is the same file.
      const [once, twice] = ['once', 'twice'].map((name) => join(folder.path, name));
      assert.ok(once !== undefined && twice !== undefined);
      copy(source, once, { compress: true, spec: { compressionType } });
      const copied = open(once);
      copy(copied, twice, { compress: true, spec: { compressionType } });
      copied.close();
      source.close();
      assert.deepEqual(describeFile(twice), describeFile(once));
    });

    it('packs what the copy stores in another way, and what does not fill its cluster', () => {
      using folder = tempFolder();
      const source = make(join(folder.path, 'source'), { compressionType });
      pack(source, 0, half(1, 32 * cluster));
      pack(source, 600 * cluster, half(2, 512));
      source.write(guestOffset(40 * cluster), half(3, 2 * cluster), { detectZeroes: false });
      const other = compressionType === 'zlib' ? 'zstd' : 'zlib';
      for (const more of [{ compressionType: other }, { compressionType, clusterSize: 2 * cluster }] as const) {
        const target = join(folder.path, `target-${more.compressionType}`);
        assert.deepEqual(new Set(copy(source, target, { compress: true, spec: more })), new Set(['pack']));
        assert.ok(judge(target, bytesOf(source)) > 0);
      }
      const same = join(folder.path, 'same');
      assert.deepEqual(copy(source, same, { compress: true, spec: { compressionType } }), ['trim', 'pack', 'pack']);
      assert.equal(judge(same, bytesOf(source)), 35);
      const plain = join(folder.path, 'plain');
      assert.deepEqual(copy(source, plain, { compress: false }), []);
      assert.equal(judge(plain, bytesOf(source)), 0);
      source.close();
    });
  });
}

function describeFile(path: string): unknown {
  const image = open(path);
  const { fileSize } = image.describe();
  const bytes = bytesOf(image).toString('latin1');
  image.close();
  return { fileSize, bytes };
}

describe('a packed copy of a chain', () => {
  function chain(folder: string): { readonly top: Image; readonly base: Image } {
    const path = join(folder, 'base');
    const base = make(path);
    pack(base, 0, half(1, 40 * cluster));
    base.flush();
    const backing = [{ fileName: 'base', path, format: 'qcow2' }] as const;
    const header = { fileName: 'base', format: 'qcow2' } as const;
    const top = make(join(folder, 'top'), { backing: header, extendedL2: false }, backing);
    top.write(guestOffset(10 * cluster + 100), half(4, 50), { detectZeroes: false });
    runToEnd(top.zero(guestOffset(20 * cluster), 2 * cluster, { unmap: true }));
    pack(top, 30 * cluster, half(5, cluster));
    return { top, base };
  }

  it('passes on what lies below, around what lies above it', () => {
    using folder = tempFolder();
    const { top, base } = chain(folder.path);
    const target = join(folder.path, 'target');
    assert.deepEqual(copy(top, target, { compress: true }), ['trim', 'pack', 'trim', 'trim']);
    assert.equal(judge(target, bytesOf(top)), 38);
    top.close();
    base.close();
  });

  it('of the top alone keeps its zeroes, which hide what it may stand on', () => {
    using folder = tempFolder();
    const { top, base } = chain(folder.path);
    pack(top, 35 * cluster, new Uint8Array(cluster));
    const target = join(folder.path, 'target');
    assert.deepEqual(copy(top, target, { compress: true, layer: 'top' }), ['pack', 'trim', 'trim']);
    const alone = open(target);
    const query = {
      offset: guestOffset(0),
      length: 40 * cluster,
      limit: 100,
      layer: 'top',
      hostOffsets: false,
    } as const;
    assert.deepEqual(
      alone.extents(query).items.map(({ kind, length }) => `${kind} ${length / cluster}`),
      ['hole 10', 'data 1', 'hole 9', 'zero 2', 'hole 8', 'data 1', 'hole 4', 'data 1', 'hole 4'],
    );
    alone.close();
    top.close();
    base.close();
  });
});

describe('a packed copy of an image with a broken blob', () => {
  it('names it, and leaves no file', () => {
    using folder = tempFolder();
    const path = join(folder.path, 'source');
    const source = make(path);
    pack(source, 0, half(1, 4 * cluster));
    source.close();
    const bytes = ImageBytes.read(path);
    const entry = bytes.u64(bytes.l2At(2));
    // With 4 KiB clusters the offset has 58 bits (CMP-01).
    bytes.fill(Number(entry & 0x3ff_ffff_ffff_ffffn), 100, 0xff);
    bytes.write(path);
    const file = open(path);
    const target = join(folder.path, 'target');
    assert.throws(() => copy(file, target, { compress: true }), { code: 'compressed-data-invalid' });
    assert.throws(() => open(target));
    file.abandon();
  });
});
