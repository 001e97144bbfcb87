// Every cipher of LUKS with its modes, IV generators and hashes, in images that are made and given a second passphrase here:
// QEMU reads what was written, writes over a part of it, and both read the same (CRE-13, ENC-04, ENC-05, AMD-09). Images
// that QEMU makes with these ciphers are in encryption.test.ts.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';

import { guestOffset } from '../../src/engine/format/offsets.ts';
import { chanceLength, Image } from '../../src/engine/image.ts';
import type { LuksWish } from '../../src/engine/image.ts';
import { runToEnd } from '../../src/engine/operations/steps.ts';
import { deriveHere } from '../../src/engine/transform/key-derivation.ts';
import { judgeLuksWish } from '../../src/engine/transform/new-luks.ts';
import { openUnlocked, qemuOptions } from '../support/encrypted-image.ts';
import { passphrase, quickLuks } from '../support/luks-image.ts';
import { plainSpec } from '../support/plain-spec.ts';
import { runTool } from '../support/qemu-img.ts';
import { tempFolder } from '../support/temp-folder.ts';

const kib = 1024;

/** Algorithm, mode, IV generator with its hash, and the hash of passphrases. */
const kinds = [
  'serpent-128 cbc essiv:md5 sha224',
  'serpent-192 xts essiv:sha256 sha384',
  'serpent-256 xts plain64 sha256',
  'serpent-256 ecb plain64 sha256',
  'twofish-128 ctr plain sha512',
  'twofish-192 xts essiv:md5 ripemd160',
  'twofish-256 cbc essiv:sha256 md5',
  'cast5-128 cbc essiv:md5 sha1',
  'cast5-128 ctr plain md5',
  'cast5-128 ecb plain64 sha256',
  'aes-128 cbc essiv:md5 sha256',
  'aes-256 ctr essiv:sha256 sha256',
  'aes-256 ecb plain sha512',
] as const;

describe('ciphers of LUKS', () => {
  const folder = tempFolder();
  after(() => {
    folder[Symbol.dispose]();
  });

  for (const [index, kind] of kinds.entries()) {
    it(`are QEMU's: ${kind}`, () => {
      const path = join(folder.path, `${String(index)}.qcow2`);
      const wish = wishOf(kind);
      judgeLuksWish(wish);
      const luks = quickLuks(wish);
      runToEnd(Image.create(path, { ...plainSpec, virtualSize: 300 * kib, encryption: { format: 'luks', ...luks } }));
      {
        const use = { path, writable: true, backing: [], locks: 'qemu', caches: undefined } as const;
        using image = closing(Image.open(use));
        image.unlock(luks.volumeKey);
        image.write(guestOffset(1000), new Uint8Array(200 * kib).fill(7), { detectZeroes: false });
        addPassphrase(image, luks.volumeKey, 'second');
      }
      // That both key slots hold the key: each word opens half of the images.
      const word = index % 2 === 0 ? 'second' : passphrase;
      const args = ['--object', `secret,id=key,data=${word}`, '-t', 'unsafe', '--image-opts', qemuOptions(path)];
      const commands = ['read -P 0 0 1000', 'read -P 7 1000 200k', 'write -P 9 100k 70000', 'read -P 7 1000 101400'];
      const answer = runTool('qemu-io', args, `${commands.join('\n')}\nquit\n`);
      assert.deepEqual(
        [answer.exit, answer.stderr, /fail|error/i.exec(answer.stdout)?.[0]],
        [0, '', undefined],
        answer.stdout,
      );
      const expected = new Uint8Array(300 * kib).fill(7, 1000, 1000 + 200 * kib).fill(9, 100 * kib, 100 * kib + 70_000);
      using image = closing(openUnlocked(path, { writable: false, backing: [] }));
      const found = new Uint8Array(expected.length);
      image.read(guestOffset(0), found);
      assert.equal(Buffer.compare(found, expected), 0);
    });
  }
});

function wishOf(kind: (typeof kinds)[number]): LuksWish {
  const [algorithm, mode, generator, hashAlg] = kind.split(' ') as [
    LuksWish['cipher']['algorithm'],
    LuksWish['cipher']['mode'],
    string,
    string,
  ];
  const [ivgenAlg, ivgenHashAlg] = generator.split(':') as [LuksWish['ivgenAlg'], string | undefined];
  return { cipher: { algorithm, mode }, ivgenAlg, ivgenHashAlg, hashAlg };
}

function addPassphrase(image: Image, volumeKey: Uint8Array, word: string): void {
  const plan = deriveHere(
    image.planKeySlots({
      state: 'active',
      slot: undefined,
      passphrase: undefined,
      volumeKey,
      newPassphrase: Buffer.from(word),
      iterations: 1000,
      chance: randomBytes(chanceLength),
    }),
  );
  image.changeKeySlots(plan);
}

function closing(image: Image): Image & Disposable {
  return Object.assign(image, {
    [Symbol.dispose]: () => {
      image.close();
    },
  });
}
