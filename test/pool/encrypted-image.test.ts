// Encrypted images in the pool: locked until somebody has a key, and keys are looked for aside.

import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';

import { InlinePool } from '../../src/pool/inline-pool.ts';
import { poolLimits } from '../../src/pool/limits.ts';
import type { PoolLimits } from '../../src/pool/limits.ts';
import type { EngineHandle } from '../../src/pool/engine-pool.ts';
import type { VolumeKeys } from '../../src/pool/protocol.ts';
import { makeLuksImage, passphrase } from '../support/luks-image.ts';
import { houseEngine } from '../support/service-engine.ts';
import { faultOf } from '../support/service-faults.ts';
import { tempFolder } from '../support/temp-folder.ts';

const nobody = { signal: undefined };
const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);

function poolOf(limits: Partial<PoolLimits>): InlinePool {
  return new InlinePool({
    engine: houseEngine,
    imageIdleMs: 60_000,
    limits: { ...poolLimits, ...limits },
    report: (failure) => {
      throw new Error('nothing fails behind a test', { cause: failure });
    },
    clock: () => performance.now(),
  });
}

/** An open image with 600 bytes of sevens, and its key. */
async function withImage(
  limits: Partial<PoolLimits>,
  work: (handle: EngineHandle, key: Uint8Array, pool: InlinePool, path: string) => Promise<void>,
): Promise<void> {
  using folder = tempFolder();
  const path = join(folder.path, 'image.qcow2');
  const key = makeLuksImage(path, {});
  const pool = poolOf(limits);
  try {
    const handle = await pool.open({ imageId: 'one', path, writable: true, backing: [], generation: 0 }, nobody);
    const bytes = new Uint8Array(600).fill(7);
    await handle.call(
      'write',
      { offset: 1000, bytes, detectZeroes: false },
      { ...nobody, keys: new Map([[path, key]]) },
    );
    await work(handle, key, pool, path);
    handle.release();
  } finally {
    await pool.close();
  }
}

const read = async (handle: EngineHandle, keys?: VolumeKeys): Promise<number | undefined> =>
  (await handle.call('read', { offset: 1599, length: 1 }, { ...nobody, keys })).bytes[0];

describe('an encrypted image of the pool', () => {
  test('is read and changed with the key of the one who asks, and by nobody else', async () => {
    await withImage({}, async (handle, key, _pool, path) => {
      const keys = new Map([[path, key]]);
      assert.equal(await read(handle, keys), 7);
      await assert.rejects(read(handle), faultOf('passphrase-required'));
      const zero = handle.run(
        'zero',
        { offset: 1500, length: 100, unmap: true },
        { ...nobody, onProgress: undefined, keys },
      );
      await assert.rejects(read(handle), faultOf('passphrase-required'));
      await zero;
      assert.equal(await read(handle, keys), 0);
      const refused = handle.run('zero', { offset: 0, length: 100, unmap: true }, { ...nobody, onProgress: undefined });
      await assert.rejects(refused, faultOf('passphrase-required'));
    });
  });

  test('is there for everybody between useKeys and the next one, also when it is opened again', async () => {
    await withImage({}, async (handle, key, pool, path) => {
      await pool.open({ imageId: 'one', path, writable: false, backing: [], generation: 0 }, nobody);
      await handle.useKeys(new Map([[path, Uint8Array.from(key)]]));
      assert.equal(await read(handle), 7);
      assert.equal(await read(handle, new Map([[path, key]])), 7);
      assert.equal(await read(handle), 7);
      await handle.useKeys(new Map());
      await assert.rejects(read(handle), faultOf('passphrase-required'));
    });
    using folder = tempFolder();
    const path = join(folder.path, 'image.qcow2');
    const key = makeLuksImage(path, {});
    const pool = poolOf({});
    const request = { imageId: 'one', path, backing: [], generation: 0 };
    const reader = await pool.open({ ...request, writable: false }, nobody);
    await reader.useKeys(new Map([[path, key]]));
    assert.ok(
      key.every((byte) => byte === 0),
      'the copy that was given is wiped',
    );
    const writer = await pool.open({ ...request, writable: true }, nobody);
    await writer.call('write', { offset: 1599, bytes: Uint8Array.of(9), detectZeroes: false }, nobody);
    assert.equal(await read(reader), 9);
    await pool.close();
  });

  test('gives its key for the passphrase, and for no other', async () => {
    await withImage({}, async (handle, key) => {
      assert.deepEqual(await handle.findVolumeKey(bytesOf(passphrase), nobody), key);
      await assert.rejects(handle.findVolumeKey(bytesOf('wrong'), nobody), faultOf('wrong-passphrase'));
    });
  });

  test('does other things while its key is looked for, and nobody waits longer than the limit', async () => {
    await withImage({ keyWaitMs: 1 }, async (handle, key, pool, path) => {
      demand(path, 3_000_000);
      const searching = handle.findVolumeKey(bytesOf(passphrase), nobody);
      const given = assert.rejects(searching, faultOf('engine-busy', { waitedMs: 1 }));
      assert.equal(await read(handle, new Map([[path, key]])), 7);
      await given;
      const leaving = new AbortController();
      const left = handle.findVolumeKey(bytesOf(passphrase), { signal: leaving.signal });
      leaving.abort(new Error('gone'));
      await assert.rejects(left, /gone/);
      await pool.ping();
    });
  });

  test('that wants more rounds than anybody asks for is refused before one is computed', async () => {
    await withImage({}, async (handle, _key, _pool, path) => {
      demand(path, 20_000_001);
      await assert.rejects(handle.findVolumeKey(bytesOf(passphrase), nobody), faultOf('luks-header-invalid'));
    });
  });
});

/** Raises the rounds of key slot 0 (LUKS On-Disk Format 1.2.3, §2). */
function demand(path: string, iterations: number): void {
  const bytes = readFileSync(path);
  bytes.writeUInt32BE(iterations, bytes.indexOf(Buffer.from('LUKS\xba\xbe', 'latin1')) + 208 + 4);
  writeFileSync(path, bytes);
}
