// Encrypted images do not get past the engine of the pool, whatever is asked of them.

import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

import { qcow2Engine } from '../../src/pool/qcow2-engine.ts';
import { faultCodeOf } from '../support/faults.ts';
import { fileBytes, newFile } from '../support/memory-parts.ts';
import { tempFolder } from '../support/temp-folder.ts';

test('the engine of the pool refuses encrypted images by name and lets go of them', () => {
  using folder = tempFolder();
  const engine = qcow2Engine({ locks: 'qemu', cacheBytes: 1024 * 1024 });
  for (const method of [1, 2]) {
    const path = join(folder.path, `${String(method)}.qcow2`);
    const bytes = fileBytes(newFile({}));
    new DataView(bytes.buffer).setUint32(32, method);
    writeFileSync(path, bytes);
    for (const writable of [false, true, true]) {
      const open = (): unknown => engine.open({ path, writable, backing: [] });
      assert.equal(faultCodeOf(open), 'encryption-unsupported');
    }
  }
});
