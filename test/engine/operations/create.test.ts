// Making images in memory: golden layouts, refcounts, write order, steps, refusals.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { Fault } from '../../../src/base/fault.ts';
import { KiB, MiB, PiB } from '../../../src/base/units.ts';
import type { ByteSpan } from '../../../src/base/byte-span.ts';
import type { ByteFile } from '../../../src/engine/file/byte-file.ts';
import { MemoryFile } from '../../../src/engine/file/memory-file.ts';
import { viewOf } from '../../../src/engine/format/big-endian.ts';
import { decodeHeader, headerGeometry } from '../../../src/engine/format/header.ts';
import { hostOffset } from '../../../src/engine/format/offsets.ts';
import type { HostOffset } from '../../../src/engine/format/offsets.ts';
import { readRefcount } from '../../../src/engine/format/refcount-block.ts';
import type { CreateSpec } from '../../../src/engine/operations/create-spec.ts';
import { createImage } from '../../../src/engine/operations/create.ts';
import { runToEnd, stepLengthMax } from '../../../src/engine/operations/steps.ts';
import { plainSpec } from '../../support/plain-spec.ts';

describe('a new image', () => {
  it('has the layout of the golden empty image (B01)', () => {
    const file = made({});
    assert.equal(file.size, 196_616);
    const header = headerOf(file);
    assert.equal(header.refcountTableOffset, 0x10000);
    assert.equal(header.refcountTableClusters, 1);
    assert.equal(header.l1TableOffset, 0x30000);
    assert.equal(header.l1Entries, 1);
    assert.equal(header.length, 112);
    assert.deepEqual(words(file, 0x70, 1), ['6803f85700000180']);
    assert.deepEqual(words(file, 0x10000, 2), ['0000000000020000', '0000000000000000']);
    assert.deepEqual(words(file, 0x20000, 2), ['0001000100010001', '0000000000000000']);
    assert.deepEqual(words(file, 0x30000, 1), ['0000000000000000']);
  });

  it('has the golden header of an overlay (B02)', () => {
    const file = made({ backing: { fileName: 'a.qcow2', format: 'qcow2' } });
    assert.deepEqual(words(file, 8, 2), ['0000000000000210', '0000000700000010']);
    assert.deepEqual(words(file, 0x70, 3), ['e2792aca00000005', '71636f7732000000', '6803f85700000180']);
    assert.deepEqual(words(file, 0x208, 2), ['0000000000000000', '612e71636f773200']);
  });

  it('is as long as the golden sparse image (B20)', () => {
    const file = made({ clusterSize: 4 * KiB, virtualSize: 100 * 1024 * MiB });
    assert.equal(headerOf(file).l1Entries, 51_200);
    assert.equal(file.size, 421_888);
  });

  it('points to every cluster, as in the golden preallocated images (B16, B21)', () => {
    const plain = made({ virtualSize: 4 * MiB, preallocation: 'metadata' });
    assert.equal(plain.size, 4_521_984);
    assert.deepEqual(words(plain, 0x30000, 1), ['8000000000040000']);
    assert.deepEqual(words(plain, 0x40000, 2), ['8000000000050000', '8000000000060000']);
    assert.deepEqual(words(plain, 0x40000 + 63 * 8, 2), ['8000000000440000', '0000000000000000']);
    const extended = made({ extendedL2: true, preallocation: 'metadata' });
    assert.deepEqual(words(extended, 0x40000, 4), [
      '8000000000050000',
      '0000000000000000',
      '8000000000060000',
      '0000000000000000',
    ]);
  });

  it('has no L1 table when it has no bytes', () => {
    for (const preallocation of ['off', 'metadata', 'full'] as const) {
      const file = made({ virtualSize: 0, preallocation });
      assert.equal(file.size, 196_608);
      assert.equal(headerOf(file).l1TableOffset, 0);
      assert.equal(headerOf(file).l1Entries, 0);
    }
  });

  it('rounds its size up to sectors (CRE-01)', () => {
    assert.equal(headerOf(made({ virtualSize: 1000 })).size, 1024);
  });

  for (const refcountBits of [1, 2, 4, 8, 16, 32, 64]) {
    for (const virtualSize of [0, 300 * KiB, 3 * MiB + 512]) {
      it(`uses each of its clusters once: ${refcountBits} bits, ${virtualSize} bytes`, () => {
        const file = made({ clusterSize: 512, refcountBits, virtualSize, preallocation: 'metadata' });
        assert.deepEqual(miscounted(file), []);
      });
    }
  }

  it('reserves its data area with falloc and writes it with full', () => {
    const dataOffset = 0x50000;
    const dataChanges = (preallocation: CreateSpec['preallocation']): readonly unknown[] => {
      const file = new RecordingFile();
      runToEnd(createImage(file, { ...plainSpec, preallocation }));
      assert.equal(file.size, dataOffset + 1 * MiB);
      return file.log.filter(({ kind, offset }) => offset >= dataOffset && kind !== 'resize');
    };
    assert.deepEqual(dataChanges('metadata'), []);
    assert.deepEqual(dataChanges('falloc'), [{ kind: 'preallocate', offset: dataOffset, length: 1 * MiB }]);
    assert.deepEqual(dataChanges('full'), [{ kind: 'write', offset: dataOffset, length: 1 * MiB }]);
  });
});

describe('making an image', () => {
  const specs: readonly Partial<CreateSpec>[] = [
    {},
    { virtualSize: 100 * MiB, preallocation: 'full' },
    { virtualSize: 100 * MiB, preallocation: 'falloc' },
    { virtualSize: 100 * MiB, clusterSize: 512, refcountBits: 64, preallocation: 'metadata' },
  ];
  for (const change of specs) {
    const note = JSON.stringify(change);
    it(`writes the header last, after a flush, and flushes it: ${note}`, () => {
      const file = new RecordingFile();
      runToEnd(createImage(file, { ...plainSpec, ...change }));
      const headerAt = file.log.findIndex(({ kind, offset }) => kind === 'write' && offset === 0);
      assert.equal(headerAt, file.log.length - 2);
      assert.equal(file.log[headerAt - 1]?.kind, 'flush');
      assert.equal(file.log[headerAt + 1]?.kind, 'flush');
    });

    it(`goes in bounded steps with rising progress: ${note}`, () => {
      const file = new RecordingFile();
      let before = 0;
      let logged = 0;
      let last = { done: 0, total: 1 };
      for (const progress of createImage(file, { ...plainSpec, ...change })) {
        assert(progress.done > before && progress.done <= progress.total);
        const writes = file.log.slice(logged).filter(({ kind }) => kind === 'write');
        assert(writes.reduce((sum, { length }) => sum + length, 0) <= stepLengthMax);
        before = progress.done;
        logged = file.log.length;
        last = progress;
      }
      assert.equal(last.done, last.total);
    });
  }

  it('leaves no magic behind when it is cancelled at any step', () => {
    const spec: CreateSpec = { ...plainSpec, virtualSize: 20 * MiB, preallocation: 'full' };
    const steps = [...createImage(MemoryFile.empty(), spec)].length;
    for (let count = 0; count <= steps; count += 1) {
      const file = MemoryFile.empty();
      const run = createImage(file, spec);
      for (let step = 0; step < count; step += 1) run.next();
      run.return();
      assert.equal(run.next().done, true);
      assert.deepEqual(words(file, 0, 1), ['0000000000000000']);
    }
  });
});

describe('a spec', () => {
  const refused: readonly (readonly [Partial<CreateSpec>, string, string | undefined])[] = [
    [{ clusterSize: 256 }, 'invalid-geometry', 'clusterSize'],
    [{ clusterSize: 4 * MiB }, 'invalid-geometry', 'clusterSize'],
    [{ clusterSize: 1000 }, 'invalid-geometry', 'clusterSize'],
    [{ clusterSize: Number.NaN }, 'invalid-geometry', 'clusterSize'],
    [{ clusterSize: 8 * KiB, extendedL2: true }, 'invalid-geometry', 'extendedL2'],
    [{ refcountBits: 0 }, 'unsupported-option', 'refcountBits'],
    [{ refcountBits: 24 }, 'unsupported-option', 'refcountBits'],
    [{ refcountBits: 128 }, 'unsupported-option', 'refcountBits'],
    [{ compat: '0.10', lazyRefcounts: true }, 'unsupported-option', 'lazyRefcounts'],
    [{ compat: '0.10', refcountBits: 1 }, 'unsupported-option', 'refcountBits'],
    [{ compat: '0.10', extendedL2: true }, 'unsupported-option', 'extendedL2'],
    [{ compat: '0.10', compressionType: 'zstd' }, 'unsupported-option', 'compressionType'],
    [{ virtualSize: -512 }, 'invalid-geometry', 'virtualSize'],
    [{ virtualSize: 0.5 }, 'invalid-geometry', 'virtualSize'],
    [{ virtualSize: 8 * PiB, clusterSize: 2 * MiB }, 'invalid-geometry', 'virtualSize'],
    [{ virtualSize: 2 * PiB + 1 }, 'invalid-geometry', 'virtualSize'],
    [{ virtualSize: 1 * PiB + 1, extendedL2: true }, 'invalid-geometry', 'virtualSize'],
    [
      { virtualSize: 128 * 1024 * MiB, clusterSize: 512, refcountBits: 64, preallocation: 'metadata' },
      'invalid-geometry',
      'preallocation',
    ],
    [
      { virtualSize: 8 * PiB - 512, clusterSize: 2 * MiB, preallocation: 'metadata' },
      'invalid-geometry',
      'preallocation',
    ],
    [{ preallocation: 'full', backing: { fileName: 'a', format: 'raw' } }, 'unsupported-option', 'preallocation'],
    [{ backing: { fileName: '', format: 'raw' } }, 'invalid-geometry', 'backing'],
    [{ backing: { fileName: 'ä'.repeat(512), format: 'raw' } }, 'invalid-geometry', 'backing'],
    [{ clusterSize: 512, backing: { fileName: 'a'.repeat(377), format: 'raw' } }, 'header-full', undefined],
  ];
  for (const [change, code, option] of refused) {
    const printed = JSON.stringify(change);
    it(`is refused with ${code} before anything is written: ${printed.slice(0, 100)}`, () => {
      const file = MemoryFile.empty();
      assert.throws(
        () => {
          runToEnd(createImage(file, { ...plainSpec, ...change }));
        },
        (error) => error instanceof Fault && error.code === code && error.context['option'] === option,
      );
      assert.equal(file.size, 0);
    });
  }

  it('may ask for the largest disk and the longest names', () => {
    assert.equal(headerOf(made({ virtualSize: 8 * PiB - 512, clusterSize: 2 * MiB })).size, 8 * PiB - 512);
    assert.equal(headerOf(made({ virtualSize: 2 * PiB })).l1Entries, 4_194_304);
    const fileName = 'a'.repeat(376);
    const tight = made({ clusterSize: 512, backing: { fileName, format: 'raw' } });
    assert.equal(headerOf(tight).backingNameLength, 376);
  });
});

function made(change: Partial<CreateSpec>): MemoryFile {
  const file = MemoryFile.empty();
  runToEnd(createImage(file, { ...plainSpec, ...change }));
  return file;
}

function headerOf(file: ByteFile): ReturnType<typeof decodeHeader> {
  return decodeHeader(bytesAt(file, 0, 512));
}

function bytesAt(file: ByteFile, offset: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  file.readAt(hostOffset(offset), bytes);
  return bytes;
}

/** So many 64-bit words in hexadecimal. */
function words(file: ByteFile, offset: number, count: number): readonly string[] {
  const view = viewOf(bytesAt(file, offset, count * 8));
  return Array.from({ length: count }, (_, index) =>
    view
      .getBigUint64(index * 8)
      .toString(16)
      .padStart(16, '0'),
  );
}

/** The clusters whose refcount is not what it must be: 1 inside the file, 0 behind it. */
function miscounted(file: ByteFile): readonly number[] {
  const header = headerOf(file);
  const { clusterSize, refcountsPerBlock, refcountOrder } = headerGeometry(header);
  const table = viewOf(bytesAt(file, header.refcountTableOffset, header.refcountTableClusters * clusterSize));
  const wrong: number[] = [];
  for (let index = 0; index < table.byteLength / 8; index += 1) {
    const offset = Number(table.getBigUint64(index * 8));
    const block = offset === 0 ? undefined : viewOf(bytesAt(file, offset, clusterSize));
    for (let entry = 0; entry < refcountsPerBlock; entry += 1) {
      const cluster = index * refcountsPerBlock + entry;
      const count = block === undefined ? 0 : readRefcount(block, refcountOrder, entry);
      if (count !== (cluster * clusterSize < file.size ? 1 : 0)) wrong.push(cluster);
    }
  }
  return wrong;
}

/** A file in memory that remembers what changed it. */
class RecordingFile implements ByteFile {
  readonly log: {
    readonly kind: 'write' | 'preallocate' | 'resize' | 'flush';
    readonly offset: number;
    readonly length: number;
  }[] = [];
  readonly #file = MemoryFile.empty();

  get size(): number {
    return this.#file.size;
  }

  get allocatedSize(): number {
    return this.#file.allocatedSize;
  }

  readAt(offset: HostOffset, target: Uint8Array): void {
    this.#file.readAt(offset, target);
  }

  writeAt(offset: HostOffset, source: Uint8Array): void {
    this.log.push({ kind: 'write', offset, length: source.length });
    this.#file.writeAt(offset, source);
  }

  punch(offset: HostOffset, length: number): void {
    this.#file.punch(offset, length);
  }

  preallocate(offset: HostOffset, length: number): void {
    this.log.push({ kind: 'preallocate', offset, length });
    this.#file.preallocate(offset, length);
  }

  nextData(offset: HostOffset): ByteSpan | undefined {
    return this.#file.nextData(offset);
  }

  resize(size: number): void {
    this.log.push({ kind: 'resize', offset: size, length: 0 });
    this.#file.resize(size);
  }

  startWriteBack(offset: HostOffset, length: number): void {
    this.#file.startWriteBack(offset, length);
  }

  flush(): void {
    this.log.push({ kind: 'flush', offset: 0, length: 0 });
    this.#file.flush();
  }

  close(): void {
    this.#file.close();
  }
}
