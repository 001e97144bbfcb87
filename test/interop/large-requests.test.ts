// One request for more than QEMU takes in one (LIM-09: 2 GiB less a sector), judged by QEMU piece by piece.

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';

import { GiB } from '../../src/base/units.ts';
import { guestOffset } from '../../src/engine/format/offsets.ts';
import { Image } from '../../src/engine/image.ts';
import { runToEnd } from '../../src/engine/operations/steps.ts';
import { plainSpec } from '../support/plain-spec.ts';
import { checkImage, qemuIo, runTool } from '../support/qemu-img.ts';
import { tempFolder } from '../support/temp-folder.ts';

/** The sizes at which numbers of 31 and 32 bits end, seen from the start of the request and from the start of the disk. */
const from = 1 * GiB - 512;
const length = 5 * GiB + 1024;
const inside = [
  from,
  from + 2 * GiB - 512,
  from + 2 * GiB,
  4 * GiB - 512,
  4 * GiB,
  from + 4 * GiB,
  from + length - 512,
];
const outside = [from - 512, from + length];

const requests = {
  zero: (image: Image) => image.zero(guestOffset(from), length, { unmap: true }),
  discard: (image: Image) => image.discard(guestOffset(from), length),
} as const;

const options = { format: 'qcow2', readOnly: false, syncs: false, discard: 'unmap' } as const;

for (const [verb, work] of Object.entries(requests)) {
  test(`one ${verb} of 5 GiB reaches all of it and nothing else (LIM-09)`, () => {
    using folder = tempFolder();
    const path = join(folder.path, 'image.qcow2');
    runToEnd(Image.create(path, { ...plainSpec, virtualSize: 8 * GiB }));
    const written = [...inside, ...outside].map((offset) => `write -P 7 ${offset} 512`);
    qemuIo(path, written, options);
    const refused = runTool('qemu-io', [path], `write -z ${from} ${length}\nquit\n`);
    assert.match(
      refused.stdout + refused.stderr,
      /length cannot exceed|Invalid argument/,
      'QEMU takes no such request',
    );
    const image = Image.open({ path, writable: true, locks: 'qemu', backing: [] });
    runToEnd(work(image));
    image.close();
    assert.equal(checkImage(path, 'none').exit, 0);
    // A discard leaves the clusters at its ends, of which it has a part only (OPS-16).
    const kept = verb === 'discard' ? [from, from + length - 512] : [];
    const gone = inside.filter((offset) => !kept.includes(offset));
    const zeroes = gone.map((offset) => `read -P 0 ${offset} 512`);
    const data = [...kept, ...outside].map((offset) => `read -P 7 ${offset} 512`);
    qemuIo(path, [...zeroes, ...data], { ...options, readOnly: true });
  });
}
