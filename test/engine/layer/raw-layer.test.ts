// Raw files as layers: the contract over files with holes, odd ends and nothing in them.

import assert from 'node:assert/strict';
import { it } from 'node:test';

import { MemoryFile } from '../../../src/engine/file/memory-file.ts';
import { guestOffset, hostOffset } from '../../../src/engine/format/offsets.ts';
import { RawLayer } from '../../../src/engine/layer/raw-layer.ts';
import { layerContract } from '../../contracts/layer.ts';
import { Prng } from '../../support/prng.ts';

const size = 300_007;

/** Data at the start and in the middle, then a hole, then seven bytes behind the last whole sector. */
function someFile(): MemoryFile {
  const file = MemoryFile.empty();
  const chance = new Prng(3);
  file.writeAt(hostOffset(0), chance.bytes(5_000));
  file.writeAt(hostOffset(200_000), chance.bytes(50_000));
  file.resize(size);
  return file;
}

layerContract('RawLayer', () => {
  const file = someFile();
  file.writeAt(hostOffset(300_000), new Prng(4).bytes(7));
  const content = new Uint8Array(300_032);
  file.readAt(hostOffset(0), content);
  return { layer: new RawLayer(file), content };
});

it('tells data where the file has some, zeroes in its holes and behind its end, at the same place in the file', () => {
  const layer = new RawLayer(someFile());
  const common = { depth: 0, compressed: false };
  const at = (offset: number): unknown => layer.extentAt(guestOffset(offset), layer.size - offset);
  assert.deepEqual(at(0), { kind: 'data', length: 8_192, host: 0, ...common });
  assert.deepEqual(at(4_000), { kind: 'data', length: 4_192, host: 4_000, ...common });
  assert.deepEqual(at(8_192), { kind: 'zero', length: 188_416, host: 8_192, ...common });
  assert.deepEqual(at(200_000), { kind: 'data', length: 53_952, host: 200_000, ...common });
  assert.deepEqual(at(253_952), { kind: 'zero', length: 46_080, host: 253_952, ...common });
  assert.deepEqual(at(300_031), { kind: 'zero', length: 1, host: 300_031, ...common });
});

it('has no bytes over an empty file', () => {
  assert.equal(new RawLayer(MemoryFile.empty()).size, 0);
});

it('asks the file system once for a hole and the data behind it', () => {
  let asked = 0;
  const file = someFile();
  const ask = file.nextData.bind(file);
  file.nextData = (offset) => {
    asked += 1;
    return ask(offset);
  };
  const layer = new RawLayer(file);
  for (let at = 100_000; at < 250_000; at += 512) layer.extentAt(guestOffset(at), 512);
  assert.equal(asked, 1);
});
