// Encrypted images that the pool makes, judged by qemu-img and qemu-io with the passphrase (CRE-13, ENC-01…ENC-04).

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';

import { Image } from '../../src/engine/image.ts';
import type { LuksWish } from '../../src/engine/image.ts';
import { deriveHere } from '../../src/engine/transform/key-derivation.ts';
import { InlinePool } from '../../src/pool/inline-pool.ts';
import { poolLimits } from '../../src/pool/limits.ts';
import { keyChanceLength } from '../../src/pool/protocol.ts';
import type { CreateRequest, EncryptionRequest } from '../../src/pool/protocol.ts';
import {
  checkEncrypted,
  passphrase,
  qemuImgConvert,
  qemuIoEncrypted,
  qemuOptions,
} from '../support/encrypted-image.ts';
import { makeLuksImage, usualLuks } from '../support/luks-image.ts';
import { plainSpec } from '../support/plain-spec.ts';
import { infoJson, qemuImg, runTool } from '../support/qemu-img.ts';
import { houseEngine } from '../support/service-engine.ts';
import { tempFolder } from '../support/temp-folder.ts';

const kib = 1024;
const nobody = { signal: undefined, onProgress: undefined };

type Spec = CreateRequest['spec'];

/** Ciphers and features, spread over each other. */
const kinds: Readonly<Record<string, { readonly wish: LuksWish | undefined; readonly spec: Partial<Spec> }>> = {
  'the defaults': { wish: usualLuks, spec: {} },
  'aes-128 in CBC with essiv, version 2, clusters of 512 bytes': {
    wish: {
      cipher: { algorithm: 'aes-128', mode: 'cbc' },
      ivgenAlg: 'essiv',
      ivgenHashAlg: 'sha256',
      hashAlg: 'sha512',
    },
    spec: { compat: '0.10', clusterSize: 512, preallocation: 'metadata' },
  },
  'aes-192 in XTS with plain, SHA-1, extended L2 entries, all of it there': {
    wish: {
      cipher: { algorithm: 'aes-192', mode: 'xts' },
      ivgenAlg: 'plain',
      ivgenHashAlg: undefined,
      hashAlg: 'sha1',
    },
    spec: { extendedL2: true, preallocation: 'falloc', refcountBits: 1 },
  },
  'the old AES scheme': { wish: undefined, spec: { preallocation: 'full', clusterSize: 4096 } },
};

describe('encrypted images that are made here', () => {
  const folder = tempFolder();
  const pool = new InlinePool({
    engine: houseEngine,
    imageIdleMs: 60_000,
    limits: poolLimits,
    report: ({ error }) => {
      throw new Error('nothing fails behind a test', { cause: error });
    },
    clock: () => performance.now(),
  });
  const paths = new Map<string, string>();
  before(async () => {
    for (const [index, [kind, { wish, spec }]] of Object.entries(kinds).entries()) {
      const path = join(folder.path, `${index}.qcow2`);
      const encryption: EncryptionRequest =
        wish === undefined
          ? { format: 'aes', passphrase: Buffer.from(passphrase) }
          : {
              format: 'luks',
              wish,
              iterTimeMs: 10,
              passphrase: Buffer.from(passphrase),
              chance: randomBytes(keyChanceLength),
            };
      await pool.withNewKey(encryption, nobody, (made) => {
        const request = {
          imageId: 'one',
          path,
          spec: { ...plainSpec, virtualSize: 700 * kib, ...spec, encryption: made },
          backing: [],
        };
        return pool.create(request, nobody);
      });
      paths.set(kind, path);
    }
  });
  after(async () => {
    await pool.close();
    folder[Symbol.dispose]();
  });

  for (const [kind, { wish }] of Object.entries(kinds)) {
    it(`read as zeroes and take data with QEMU (OPS-07): ${kind}`, () => {
      const path = paths.get(kind) ?? '';
      assert.equal(checkEncrypted(path), 0);
      const raw = join(folder.path, 'disk.raw');
      qemuImgConvert(path, raw);
      assert.ok(readFileSync(raw).every((byte) => byte === 0));
      qemuIoEncrypted(path, ['write -P 7 1000 100k', 'read -P 7 1000 100k', 'read -P 0 0 1000']);
      assert.equal(checkEncrypted(path), 0);
      const specific = infoJson(path)['format-specific'] as {
        readonly data: { readonly encrypt: Record<string, unknown> };
      };
      const { encrypt } = specific.data;
      if (wish === undefined) {
        assert.deepEqual(encrypt, { format: 'aes' });
        return;
      }
      assert.deepEqual(
        [encrypt['cipher-alg'], encrypt['cipher-mode'], encrypt['ivgen-alg'], encrypt['hash-alg']],
        [wish.cipher.algorithm, wish.cipher.mode, wish.ivgenAlg, wish.hashAlg],
      );
    });
  }

  it('take another passphrase from QEMU, and give QEMU another (AMD-09, ENC-05)', async () => {
    const path = paths.get('the defaults') ?? '';
    const old = `secret,id=key,data=${passphrase}`;
    const opts = ['--image-opts', '-o', 'encrypt.state=active,encrypt.new-secret=new,encrypt.iter-time=10'];
    qemuImg('amend', '--object', old, '--object', 'secret,id=new,data=theirs', ...opts, qemuOptions(path));
    const handle = await pool.open({ imageId: 'slots', path, writable: true, backing: [], generation: 0 }, nobody);
    const key = await handle.findVolumeKey(Buffer.from('theirs'), nobody);
    key.fill(0);
    const chance = randomBytes(keyChanceLength);
    const wish = { passphrase: Buffer.from('theirs'), newPassphrase: Buffer.from('ours'), iterTimeMs: 10, chance };
    const plan = await handle.planKeySlots({ ...wish, state: 'active', slot: 5 }, nobody);
    await handle.call('changeKeySlots', { plan }, nobody);
    const less = { ...wish, newPassphrase: undefined, passphrase: Buffer.from(passphrase), slot: undefined };
    const cleared = await handle.planKeySlots({ ...less, state: 'inactive' }, nobody);
    await handle.call('changeKeySlots', { plan: cleared }, nobody);
    handle.release();
    await pool.evict('slots');
    const readWith = (word: string): number =>
      runTool(
        'qemu-io',
        ['-r', '--object', `secret,id=key,data=${word}`, '--image-opts', qemuOptions(path)],
        'read -P 7 1000 100k\nquit\n',
      ).exit;
    assert.deepEqual([readWith('ours'), readWith('theirs'), readWith(passphrase)], [0, 0, 1]);
  });

  it('keep a slot that the passphrase beside its number does not open, with QEMU and with ours (ENC-05)', () => {
    const path = join(folder.path, 'kept.qcow2');
    const volumeKey = makeLuksImage(path, {});
    const image = Image.open({ path, writable: true, backing: [], locks: 'qemu', caches: undefined });
    const second = { newPassphrase: Buffer.from('second'), iterations: 1000, chance: randomBytes(keyChanceLength) };
    const filled = image.planKeySlots({ state: 'active', slot: 1, passphrase: undefined, volumeKey, ...second });
    image.changeKeySlots(deriveHere(filled));
    const words = { key: passphrase, second: 'second', wrong: 'wrong' };
    const kept = [
      [1, 'key'],
      [1, 'wrong'],
      [0, 'second'],
      [5, 'key'],
    ] as const;
    for (const [slot, word] of kept) {
      const wish = { state: 'inactive', slot, passphrase: Buffer.from(words[word]) } as const;
      assert.throws(() => deriveHere(image.planKeySlots(wish)), { code: 'wrong-passphrase' }, `${slot} ${word}`);
    }
    const right = deriveHere(image.planKeySlots({ state: 'inactive', slot: 1, passphrase: Buffer.from(words.second) }));
    assert.deepEqual(right, { kind: 'clear', indexes: [1] });
    image.close();
    const secrets = Object.entries(words).flatMap(([id, data]) => ['--object', `secret,id=${id},data=${data}`]);
    const erase = (slot: number, word: string): string => {
      const change = `encrypt.state=inactive,encrypt.keyslot=${slot},encrypt.old-secret=${word}`;
      return runTool('qemu-img', ['amend', ...secrets, '--image-opts', '-o', change, qemuOptions(path)], '').stderr;
    };
    for (const [slot, word] of kept) assert.match(erase(slot, word), /doesn't contain the given old password/);
    assert.equal(erase(1, 'second'), '');
  });
});
