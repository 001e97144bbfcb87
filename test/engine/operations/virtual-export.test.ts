// Virtual files read with the codecs of the format: the mapping, the bytes, and any range like the whole.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { GiB, KiB, MiB, PiB, TiB } from '../../../src/base/units.ts';
import { viewOf } from '../../../src/engine/format/big-endian.ts';
import { decodeHeader, headerGeometry, judgeTables } from '../../../src/engine/format/header.ts';
import type { Header } from '../../../src/engine/format/header.ts';
import { entryOffset, isOwned } from '../../../src/engine/format/l1-entry.ts';
import { standardKind } from '../../../src/engine/format/l2-entry.ts';
import { guestOffset } from '../../../src/engine/format/offsets.ts';
import { readRefcount } from '../../../src/engine/format/refcount-block.ts';
import type { Layer } from '../../../src/engine/layer/layer.ts';
import { runToEnd } from '../../../src/engine/operations/steps.ts';
import { planExport } from '../../../src/engine/operations/virtual-export.ts';
import type { VirtualFile } from '../../../src/engine/operations/virtual-file.ts';
import { PatternLayer, randomStretches } from '../../support/pattern-layer.ts';
import type { Stretch } from '../../support/pattern-layer.ts';
import { Prng } from '../../support/prng.ts';

describe('a virtual qcow2 file', () => {
  for (const clusterSize of [512, 4 * KiB, 64 * KiB, 2 * MiB]) {
    for (const [name, size, sectorsMax] of [
      ['fragmented', Math.min(3 * MiB, 600 * clusterSize) + 512, 9],
      ['in long runs', Math.min(24 * MiB, 3000 * clusterSize) - 1536, 3000],
    ] as const) {
      it(`maps what its layer holds, ${name}, clusters of ${clusterSize}`, () => {
        const layer = new PatternLayer(randomStretches(new Prng(size + clusterSize), { size, sectorsMax }));
        const file = exported(layer, clusterSize);
        assertMaps(file, layer);
        assertUsesEachClusterOnce(file);
      });
    }

    it(`gives every range the bytes of the whole, clusters of ${clusterSize}`, () => {
      const random = new Prng(clusterSize);
      const size = Math.min(5 * MiB, 4000 * clusterSize);
      const layer = new PatternLayer(randomStretches(random, { size, sectorsMax: 40 }));
      const file = exported(layer, clusterSize);
      const whole = bytesAt(file, 0, file.length);
      for (let round = 0; round < 300; round += 1) {
        const offset = random.below(file.length);
        const length = Math.min(file.length - offset, random.pick([0, 1, 7, 513, 65_537, 1 * MiB]));
        const piece = new Uint8Array(length).fill(0xee);
        file.read(offset, piece);
        assert.equal(Buffer.compare(piece, whole.subarray(offset, offset + length)), 0, `${length} at ${offset}`);
      }
    });
  }

  it('rounds an odd length up to sectors and fills up with zeroes', () => {
    const layer = new PatternLayer([{ kind: 'data', length: 70_001 }]);
    const file = exported(layer, 64 * KiB);
    assert.equal(headerOf(file).size, 70_144);
    const tail = bytesAt(file, file.length - 64 * KiB, 64 * KiB);
    assert.notEqual(tail[70_000 - 65_536], 0);
    assert(tail.subarray(70_001 - 65_536).every((byte) => byte === 0));
  });

  it('stores nothing for a disk of no bytes and for one of holes', () => {
    assert.equal(exported(new PatternLayer([]), 64 * KiB).length, 192 * KiB);
    const hole = exported(new PatternLayer([{ kind: 'absent', length: 1 * TiB }]), 64 * KiB);
    assert.equal(hole.length, 256 * KiB);
    assertMaps(hole, new PatternLayer([{ kind: 'absent', length: 1 * TiB }]));
  });

  it('stores zeroes as flags only', () => {
    const file = exported(new PatternLayer([{ kind: 'zero', length: 1 * GiB }]), 64 * KiB);
    assert.equal(file.length, (4 + 2) * 64 * KiB);
  });

  it('serves both ends of the largest disks', () => {
    for (const [size, clusterSize] of [
      [2 * PiB, 64 * KiB],
      [8 * PiB - 512, 2 * MiB],
    ] as const) {
      const rim = 3 * MiB;
      const stretches: readonly Stretch[] = [
        { kind: 'data', length: rim },
        { kind: 'absent', length: size - 2 * rim },
        { kind: 'data', length: rim },
      ];
      const layer = new PatternLayer(stretches);
      const file = exported(layer, clusterSize);
      const header = headerOf(file);
      assert.equal(header.size, size);
      const first = mappingAt(file, header, 0);
      const last = mappingAt(file, header, size - 4 * KiB);
      assert.equal(first.kind, 'data');
      assert.equal(last.kind, 'data');
      const expected = new Uint8Array(4 * KiB);
      layer.read(guestOffset(size - 4 * KiB), expected);
      assert.deepEqual(
        bytesAt(file, last.host + ((size - 4 * KiB) % headerGeometry(header).clusterSize), 4 * KiB),
        expected,
      );
      assert.equal(mappingAt(file, header, size / 2).kind, 'unallocated');
    }
  });

  it('uses larger clusters where a full disk would not fit the refcount table', () => {
    const file = exported(new PatternLayer([{ kind: 'absent', length: 128 * GiB }]), 512);
    assert.equal(headerOf(file).clusterBits, 10);
    const smaller = exported(new PatternLayer([{ kind: 'absent', length: 64 * GiB }]), 512);
    assert.equal(headerOf(smaller).clusterBits, 9);
  });

  it('is planned in steps of bounded work', () => {
    const stretches = Array.from({ length: 20_000 }, (_, index): Stretch => {
      return { kind: index % 2 === 0 ? 'data' : 'absent', length: 64 * KiB };
    });
    const layer = new CountingLayer(stretches);
    let before = 0;
    let done = 0;
    for (const progress of planExport({ format: 'qcow2', layer, clusterSize: 64 * KiB })) {
      assert(layer.asked - before <= 1024);
      assert(progress.done > done && progress.done <= progress.total);
      before = layer.asked;
      done = progress.done;
    }
    assert.equal(layer.asked, 20_000);
  });
});

describe('a virtual raw file', () => {
  it('is the disk', () => {
    const layer = new PatternLayer(randomStretches(new Prng(1), { size: 1 * MiB, sectorsMax: 100 }));
    const file = runToEnd(planExport({ format: 'raw', layer, clusterSize: 64 * KiB }));
    assert.equal(file.length, layer.size);
    assert.deepEqual(bytesAt(file, 1234, 54_321), guestBytes(layer, 1234, 54_321));
  });
});

/** Counts how often it is asked for an extent. */
class CountingLayer extends PatternLayer {
  asked = 0;

  override extentAt(...span: Parameters<Layer['extentAt']>): ReturnType<Layer['extentAt']> {
    this.asked += 1;
    return super.extentAt(...span);
  }
}

function exported(layer: Layer, clusterSize: number): VirtualFile {
  return runToEnd(planExport({ format: 'qcow2', layer, clusterSize }));
}

function bytesAt(file: VirtualFile, offset: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  file.read(offset, bytes);
  return bytes;
}

function guestBytes(layer: Layer, offset: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  layer.read(guestOffset(offset), bytes);
  return bytes;
}

function headerOf(file: VirtualFile): Header {
  const header = decodeHeader(bytesAt(file, 0, 512));
  judgeTables(header, headerGeometry(header), { forCheck: false });
  return header;
}

interface Mapping {
  readonly kind: ReturnType<typeof standardKind>;
  readonly host: number;
}

function mappingAt(file: VirtualFile, header: Header, offset: number): Mapping {
  const geometry = headerGeometry(header);
  const { l2Span, clusterSize, l2Entries } = geometry;
  const l1 = viewOf(bytesAt(file, header.l1TableOffset + Math.floor(offset / l2Span) * 8, 8));
  const table = entryOffset(l1.getUint32(0), l1.getUint32(4));
  if (table === 0) return { kind: 'unallocated', host: 0 };
  assert(isOwned(l1.getUint32(0)));
  const l2 = viewOf(bytesAt(file, table + (Math.floor(offset / clusterSize) % l2Entries) * 8, 8));
  const kind = standardKind(l2.getUint32(0), l2.getUint32(4), geometry);
  assert.equal(isOwned(l2.getUint32(0)), kind === 'data');
  return { kind, host: entryOffset(l2.getUint32(0), l2.getUint32(4)) };
}

/** Each cluster is data, zero or unallocated as the strongest of its extents says, and data reads the same. */
function assertMaps(file: VirtualFile, layer: Layer): void {
  const header = headerOf(file);
  const { clusterSize, l2Span } = headerGeometry(header);
  const step = layer.size > 1 * GiB ? l2Span : clusterSize;
  let nextHost = 0;
  for (let at = 0; at < layer.size; at += step) {
    const length = Math.min(clusterSize, layer.size - at);
    const kinds = new Set<string>();
    for (let done = 0; done < length;) {
      const extent = layer.extentAt(guestOffset(at + done), length - done);
      kinds.add(extent.kind);
      done += extent.length;
    }
    const { kind, host } = mappingAt(file, header, at);
    const expected = kinds.has('data') ? 'data' : kinds.has('zero') ? 'zero' : 'unallocated';
    assert.equal(kind, expected, `cluster at ${at}`);
    if (kind !== 'data') continue;
    if (nextHost !== 0) assert.equal(host, nextHost);
    nextHost = host + clusterSize;
    assert.equal(Buffer.compare(bytesAt(file, host, length), guestBytes(layer, at, length)), 0, `data at ${at}`);
  }
  if (nextHost !== 0) assert.equal(file.length, nextHost);
}

function assertUsesEachClusterOnce(file: VirtualFile): void {
  const header = headerOf(file);
  const { clusterSize, refcountsPerBlock, refcountOrder } = headerGeometry(header);
  const table = viewOf(bytesAt(file, header.refcountTableOffset, header.refcountTableClusters * clusterSize));
  for (let cluster = 0; cluster < file.length / clusterSize + 100; cluster += 1) {
    const offset = Number(table.getBigUint64(Math.floor(cluster / refcountsPerBlock) * 8));
    const block = offset === 0 ? undefined : viewOf(bytesAt(file, offset, clusterSize));
    const count = block === undefined ? 0 : readRefcount(block, refcountOrder, cluster % refcountsPerBlock);
    assert.equal(count, cluster * clusterSize < file.length ? 1 : 0, `cluster ${cluster}`);
  }
}
