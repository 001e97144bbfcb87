// Encrypted images between QEMU and us, in both directions: what one writes the other reads (ENC-01…ENC-04, T74).

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';

import { guestOffset } from '../../src/engine/format/offsets.ts';
import { Image } from '../../src/engine/image.ts';
import { runToEnd } from '../../src/engine/operations/steps.ts';
import { deriveHere } from '../../src/engine/transform/key-derivation.ts';
import { chanceLength } from '../../src/engine/transform/new-luks.ts';
import {
  checkEncrypted,
  createEncrypted,
  openUnlocked,
  qemuImgConvert,
  qemuImgEncrypted,
  qemuIoEncrypted,
  volumeKeyOf,
} from '../support/encrypted-image.ts';
import { everySecond } from '../support/every-second.ts';
import { faultCodeOf } from '../support/faults.ts';
import { Prng } from '../support/prng.ts';
import { infoJson, qemuImg } from '../support/qemu-img.ts';
import { tempFolder } from '../support/temp-folder.ts';

const kib = 1024;
const seed = Number(process.env['SEED'] ?? 4);

/** As few rounds as QEMU allows. */
const quick = { 'iter-time': '10' };

/** One image a cipher; sizes and features are spread over them, since making one costs QEMU seconds. */
const kinds = {
  'LUKS xts-plain64, extended L2 entries': { format: 'luks', encrypt: quick, options: 'extended_l2=on' },
  'LUKS cbc-essiv:md5 with CAST5, version 2, clusters of 4 KiB': {
    format: 'luks',
    encrypt: {
      ...quick,
      'cipher-alg': 'cast5-128',
      'cipher-mode': 'cbc',
      'ivgen-alg': 'essiv',
      'ivgen-hash-alg': 'md5',
      'hash-alg': 'md5',
    },
    options: 'compat=0.10,cluster_size=4k',
  },
  // The hash of the generator stands in the header and means nothing.
  'LUKS xts-plain with Twofish and SHA-1, lazy refcounts': {
    format: 'luks',
    encrypt: {
      ...quick,
      'cipher-alg': 'twofish-192',
      'ivgen-alg': 'plain',
      'ivgen-hash-alg': 'sha224',
      'hash-alg': 'sha1',
    },
    options: 'lazy_refcounts=on',
  },
  'LUKS ctr-plain64 with Serpent, clusters of 2 KiB': {
    format: 'luks',
    encrypt: { ...quick, 'cipher-alg': 'serpent-256', 'cipher-mode': 'ctr', 'hash-alg': 'sha512' },
    options: 'cluster_size=2k',
  },
  'the old AES scheme, clusters of 512 bytes': { format: 'aes', encrypt: {}, options: 'cluster_size=512' },
} as const;

type Kind = keyof typeof kinds;

describe('encrypted images', () => {
  const folder = tempFolder();
  const made = new Map<Kind, string>();
  before(() => {
    for (const [name, kind] of Object.entries(kinds) as [Kind, (typeof kinds)[Kind]][]) {
      const path = join(folder.path, `${String(made.size)}.qcow2`);
      createEncrypted(path, { ...kind, size: '4M' });
      made.set(name, path);
    }
  });
  after(() => {
    folder[Symbol.dispose]();
  });

  /** A copy of an empty image of this kind. */
  function fresh(kind: Kind, name: string): string {
    const path = join(folder.path, name);
    copyFileSync(made.get(kind) ?? '', path);
    return path;
  }

  /** The whole disk as QEMU reads it. */
  function diskOfQemu(path: string): Buffer {
    const raw = join(folder.path, 'disk.raw');
    qemuImgConvert(path, raw);
    return readFileSync(raw);
  }

  for (const kind of everySecond(Object.keys(kinds) as Kind[])) {
    it(`are read here as QEMU wrote them: ${kind}`, () => {
      const path = fresh(kind, 'theirs.qcow2');
      qemuIoEncrypted(path, [
        'write -P 17 0 100k',
        'write -P 34 1000k 64k',
        'write -z 1010k 512',
        'write -P 51 2047k 1k',
        'discard 1024k 16k',
      ]);
      using image = closing(openUnlocked(path, { writable: false, backing: [] }));
      assertSame(diskOf(image, 4096 * kib), diskOfQemu(path));
      const { data } = infoJson(path)['format-specific'] as { readonly data: { readonly encrypt: object } };
      assert.deepEqual(inKebabCase(image.describe().encryption), data.encrypt);
    });

    it(`are read by QEMU as we wrote them (ENC-06): ${kind}`, (context) => {
      context.diagnostic(`SEED=${String(seed)}`);
      const path = fresh(kind, 'ours.qcow2');
      const chance = new Prng(seed);
      const model = new Uint8Array(4096 * kib);
      let atSnapshot = Uint8Array.from(model);
      {
        using image = closing(openUnlocked(path, { writable: true, backing: [] }));
        for (let round = 0; round < 60; round += 1) {
          if (round === 30) {
            runToEnd(image.createSnapshot({ ...someSnapshot, name: 'half' }));
            atSnapshot = Uint8Array.from(model);
          }
          changeSomething(image, model, chance);
        }
        const snapshot = new Uint8Array(model.length);
        image.readSnapshot('half', guestOffset(0), snapshot);
        assertSame(snapshot, atSnapshot);
        assertSame(diskOf(image, model.length), model);
      }
      assert.equal(checkEncrypted(path), 0);
      assertSame(diskOfQemu(path), model);
      qemuImgEncrypted('snapshot', path, '-a', 'half');
      assertSame(diskOfQemu(path), atSnapshot);
    });
  }

  it('count the clusters of their LUKS header when they are checked, and need no passphrase for it (REF-04, ENC-07)', () => {
    const path = fresh('LUKS xts-plain with Twofish and SHA-1, lazy refcounts', 'checked.qcow2');
    using image = closing(Image.open({ path, writable: true, locks: 'qemu', caches: undefined, backing: [] }));
    const report = runToEnd(image.check());
    assert.deepEqual([report.corruptions, report.leaks], [0, 0]);
    // A leak beside it is repaired; the header stays.
    const repaired = runToEnd(image.repair('all'));
    assert.deepEqual([repaired.corruptions, repaired.leaks], [0, 0]);
    image.unlock(volumeKeyOf(image));
    runToEnd(image.repair('all'));
    image.write(guestOffset(0), new Uint8Array(512).fill(5), { detectZeroes: false });
    assert.equal(diskOf(image, 512)[511], 5);
  });

  it('stay as they are under a wrong passphrase, and without one', () => {
    const path = fresh('LUKS xts-plain64, extended L2 entries', 'locked.qcow2');
    qemuIoEncrypted(path, ['write -P 7 0 64k']);
    const untouched = readFileSync(path);
    {
      using image = closing(Image.open({ path, writable: true, locks: 'qemu', caches: undefined, backing: [] }));
      const wrong = (): unknown => deriveHere(image.findVolumeKey(new TextEncoder().encode('correct house')));
      assert.equal(faultCodeOf(wrong), 'wrong-passphrase');
      const sector = new Uint8Array(512);
      const verbs: readonly (() => void)[] = [
        () => {
          image.read(guestOffset(0), sector);
        },
        () => {
          image.write(guestOffset(0), sector, { detectZeroes: true });
        },
        () => {
          image.write(guestOffset(2048 * kib), sector, { detectZeroes: false });
        },
        () => {
          runToEnd(image.zero(guestOffset(0), 512, { unmap: true }));
        },
        () => {
          runToEnd(image.discard(guestOffset(0), 65_536));
        },
        () => {
          runToEnd(image.resize({ virtualSize: 8192 * kib, preallocation: 'full', allowShrink: false }));
        },
        () => {
          runToEnd(image.planExport({ format: 'raw', snapshot: undefined, layer: 'all' }));
        },
      ];
      for (const verb of verbs) assert.equal(faultCodeOf(verb), 'passphrase-required');
      image.unlock(volumeKeyOf(image));
      assert.equal(diskOf(image, 512)[0], 7);
      image.lock();
      for (const verb of verbs) assert.equal(faultCodeOf(verb), 'passphrase-required');
    }
    assert.ok(readFileSync(path).equals(untouched), 'no byte of the file has changed');
  });

  it('grow with preallocation that reads as zeroes', () => {
    const cases = [
      ['LUKS xts-plain64, extended L2 entries', 'metadata'],
      ['LUKS xts-plain with Twofish and SHA-1, lazy refcounts', 'falloc'],
      ['LUKS xts-plain with Twofish and SHA-1, lazy refcounts', 'metadata'],
      ['the old AES scheme, clusters of 512 bytes', 'full'],
    ] as const;
    for (const [kind, preallocation] of cases) {
      const path = fresh(kind, 'grown.qcow2');
      {
        using image = closing(openUnlocked(path, { writable: true, backing: [] }));
        runToEnd(image.resize({ virtualSize: 5120 * kib, preallocation, allowShrink: false }));
      }
      assert.equal(checkEncrypted(path), 0);
      assertSame(diskOfQemu(path), new Uint8Array(5120 * kib));
    }
  });

  it('are read whatever their UUID is, and keep it when key slots change', () => {
    const path = fresh('LUKS xts-plain64, extended L2 entries', 'uuid.qcow2');
    qemuIoEncrypted(path, ['write -P 9 0 100k']);
    const uuid = Buffer.alloc(40, '\xff\n\x00no text', 'latin1');
    const bytes = readFileSync(path);
    const at = bytes.indexOf(Buffer.from('LUKS\xba\xbe', 'latin1')) + 168;
    uuid.copy(bytes, at);
    writeFileSync(path, bytes);
    const expected = new Uint8Array(4096 * kib).fill(9, 0, 100 * kib);
    assertSame(diskOfQemu(path), expected);
    {
      using image = closing(openUnlocked(path, { writable: true, backing: [] }));
      assertSame(diskOf(image, expected.length), expected);
      const second = { newPassphrase: Buffer.from('second'), iterations: 1000, chance: randomBytes(chanceLength) };
      const wish = {
        state: 'active',
        slot: 1,
        passphrase: undefined,
        volumeKey: volumeKeyOf(image),
        ...second,
      } as const;
      image.changeKeySlots(deriveHere(image.planKeySlots(wish)));
    }
    assert.deepEqual(readFileSync(path).subarray(at, at + uuid.length), uuid);
    assertSame(diskOfQemu(path), expected);
  });

  it('serve as backing files to who has their key', () => {
    const path = fresh('LUKS xts-plain64, extended L2 entries', 'base.qcow2');
    qemuIoEncrypted(path, ['write -P 9 0 100k']);
    const overlay = join(folder.path, 'overlay.qcow2');
    qemuImg('create', '-q', '-f', 'qcow2', '-u', '-b', 'base.qcow2', '-F', 'qcow2', overlay, '4M');
    const base = { fileName: 'base.qcow2', path, format: 'qcow2' } as const;
    const options = { path: overlay, writable: true, locks: 'qemu', caches: undefined } as const;
    {
      using locked = closing(Image.open({ ...options, backing: [base] }));
      assert.equal(
        faultCodeOf(() => diskOf(locked, 512)),
        'passphrase-required',
      );
    }
    using image = closing(Image.open({ ...options, backing: [base] }));
    image.unlockBelow(new Map([[path, keyOf(path)]]));
    image.write(guestOffset(1000), new Uint8Array(2000).fill(3), { detectZeroes: false });
    const expected = new Uint8Array(4096 * kib).fill(9, 0, 100 * kib).fill(3, 1000, 3000);
    assertSame(diskOf(image, expected.length), expected);
  });
});

const someSnapshot = { seconds: 0, nanoseconds: 0, idFloor: 1 };

/** One random change, to the image and to the model. */
function changeSomething(image: Image, model: Uint8Array, chance: Prng): void {
  const offset = chance.below(model.length);
  const length = Math.min(1 + chance.below(150 * kib), model.length - offset);
  const span = model.subarray(offset, offset + length);
  if (chance.below(4) === 0) {
    runToEnd(image.zero(guestOffset(offset), length, { unmap: chance.below(2) === 0 }));
    span.fill(0);
    return;
  }
  const source = chance.bytes(length);
  image.write(guestOffset(offset), source, { detectZeroes: false });
  span.set(source);
}

function diskOf(image: Image, length: number): Uint8Array {
  const bytes = new Uint8Array(length).fill(0xee);
  image.read(guestOffset(0), bytes);
  return bytes;
}

function keyOf(path: string): Uint8Array {
  using image = closing(Image.open({ path, writable: false, locks: 'qemu', caches: undefined, backing: [] }));
  return volumeKeyOf(image);
}

/** As qemu-img names members. */
function inKebabCase(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(inKebabCase);
  if (typeof value !== 'object' || value === null) return value;
  const named = Object.entries(value).map(([name, member]): [string, unknown] => [
    name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`),
    inKebabCase(member),
  ]);
  return Object.fromEntries(named);
}

/** Tells where bytes differ first. */
function assertSame(found: Uint8Array, expected: Uint8Array): void {
  assert.equal(found.length, expected.length);
  const same = Buffer.compare(found, expected) === 0;
  assert.ok(same, same ? '' : `byte ${String(found.findIndex((byte, at) => byte !== expected[at]))} differs`);
}

function closing(image: Image): Image & Disposable {
  return Object.assign(image, {
    [Symbol.dispose]: () => {
      image.close();
    },
  });
}
