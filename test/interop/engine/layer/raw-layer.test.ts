// Raw files as qemu-img maps and reads them, and as our layer does.

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { it } from 'node:test';

import { NodeFile } from '../../../../src/engine/file/node-file.ts';
import { guestOffset, hostOffset } from '../../../../src/engine/format/offsets.ts';
import { RawLayer } from '../../../../src/engine/layer/raw-layer.ts';
import { Prng } from '../../../support/prng.ts';
import { qemuImg } from '../../../support/qemu-img.ts';
import { tempFolder } from '../../../support/temp-folder.ts';

interface Stretch {
  readonly start: number;
  readonly length: number;
  readonly present: boolean;
  readonly zero: boolean;
  readonly data: boolean;
  readonly offset?: number;
}

for (const [name, make] of Object.entries<(file: NodeFile) => void>({
  'that ends behind a sector': (file) => {
    file.writeAt(hostOffset(0), new Prng(1).bytes(5_000));
    file.resize(300_007);
    file.writeAt(hostOffset(200_000), new Prng(2).bytes(50_000));
    file.writeAt(hostOffset(300_000), new Prng(3).bytes(7));
  },
  'that is one hole': (file) => {
    file.resize(1_048_576);
  },
  'that ends in a hole, not on a sector': (file) => {
    file.writeAt(hostOffset(0), new Prng(4).bytes(9_000));
    file.resize(100_001);
  },
  'of one byte': (file) => {
    file.writeAt(hostOffset(0), Uint8Array.of(1));
  },
  'with many holes': (file) => {
    for (let at = 0; at < 4_000_000; at += 40_960) file.writeAt(hostOffset(at), new Uint8Array(4_096).fill(1));
  },
  'that is preallocated': (file) => {
    file.writeAt(hostOffset(0), new Uint8Array(65_536).fill(1));
    file.preallocate(hostOffset(0), 1_048_576);
  },
})) {
  it(`maps and reads a raw file ${name} as qemu-img does`, () => {
    using folder = tempFolder();
    const path = join(folder.path, 'base.raw');
    const made = NodeFile.create(path);
    make(made);
    made.flush();
    made.close();

    const layer = new RawLayer(NodeFile.open(path, { writable: false, locks: 'qemu' }));
    const map = JSON.parse(qemuImg('map', '-f', 'raw', '--output=json', path)) as readonly Stretch[];
    assert.deepEqual(
      walk(layer),
      map.map(({ start, length, present, zero, data, offset }) => ({ start, length, present, zero, data, offset })),
    );

    const grown = join(folder.path, 'copy.raw');
    qemuImg('convert', '-f', 'raw', '-O', 'raw', path, grown);
    const copy = NodeFile.open(grown, { writable: false, locks: 'qemu' });
    assert.equal(layer.size, copy.size);
    assert.deepEqual(contentOf(layer), contentOf(new RawLayer(copy)));
    layer.close();
    copy.close();
  });
}

/** All extents, merged, in qemu-img's words. */
function walk(layer: RawLayer): readonly Stretch[] {
  const stretches: Stretch[] = [];
  for (let at = 0; at < layer.size;) {
    const extent = layer.extentAt(guestOffset(at), Math.min(layer.size - at, 100_000));
    assert.ok(extent.kind !== 'absent');
    const isZero = extent.kind === 'zero';
    const last = stretches.at(-1);
    if (last !== undefined && last.zero === isZero) {
      stretches[stretches.length - 1] = { ...last, length: last.length + extent.length };
    } else {
      const host = extent.host ?? NaN;
      stretches.push({ start: at, length: extent.length, present: true, zero: isZero, data: !isZero, offset: host });
    }
    at += extent.length;
  }
  return stretches;
}

function contentOf(layer: RawLayer): Uint8Array {
  const content = new Uint8Array(layer.size);
  layer.read(guestOffset(0), content);
  return content;
}
