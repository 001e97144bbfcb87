// Chains in which some images are encrypted: what is done with a layer leaves what qemu-img leaves, or what it can read.

import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';

import { guestOffset } from '../../src/engine/format/offsets.ts';
import { Image } from '../../src/engine/image.ts';
import type { BackingFile, CreateSpec } from '../../src/engine/image.ts';
import { KiB, MiB } from '../../src/base/units.ts';
import { runToEnd } from '../../src/engine/operations/steps.ts';
import { createEncrypted, secret, volumeKeyOf } from '../support/encrypted-image.ts';
import { makeLuksImage, quickLuks, usualLuks } from '../support/luks-image.ts';
import { plainSpec } from '../support/plain-spec.ts';
import { qemuImg, runTool } from '../support/qemu-img.ts';
import { tempFolder } from '../support/temp-folder.ts';

type Cipher = 'plain' | 'luks' | 'aes';

/** An image of a chain: how it is encrypted, how large it is, and what is written to it. */
interface Storey {
  readonly name: string;
  readonly cipher: Cipher;
  readonly size: string;
  readonly options: string;
  readonly commands: readonly string[];
}

/** What QEMU's tools are told to open: the image with all below it, and the secret of each. */
function optionsOf(folder: string, chain: readonly Storey[]): string {
  const words = chain.flatMap(({ name, cipher }, depth) => {
    const prefix = 'backing.'.repeat(depth);
    const key = cipher === 'plain' ? [] : [`${prefix}encrypt.key-secret=key`];
    return [`${prefix}driver=qcow2`, `${prefix}file.filename=${join(folder, name)}`, ...key];
  });
  return words.join(',');
}

function tool(name: 'qemu-img' | 'qemu-io', args: readonly string[], input = ''): void {
  const answer = runTool(name, args, input);
  const complaint = name === 'qemu-io' && /failed|error|invalid/i.test(answer.stdout + answer.stderr);
  assert.ok(answer.exit === 0 && !complaint, `${name} ${args.join(' ')}: ${answer.stderr}${answer.stdout}`);
}

/** Makes a chain with QEMU, top first. */
function build(folder: string, chain: readonly Storey[]): void {
  for (const [depth, storey] of [...chain.entries()].toReversed()) {
    const { name, cipher, size, options, commands } = storey;
    const path = join(folder, name);
    const below = chain[depth + 1];
    const backing = below === undefined ? '' : `backing_file=${below.name},backing_fmt=qcow2`;
    const all = [options, backing].filter((word) => word !== '').join(',');
    if (cipher === 'luks') makeOurs(path, storey, below);
    else if (cipher === 'aes')
      createEncrypted(path, { format: cipher, encrypt: {}, options: all, size, isBaseUnread: true });
    else qemuImg('create', '-q', '-u', '-f', 'qcow2', ...(all === '' ? [] : ['-o', all]), path, size);
    const opened = ['-t', 'unsafe', '--image-opts', optionsOf(folder, chain.slice(depth))];
    tool('qemu-io', [...secret, ...opened], `${commands.join('\n')}\nquit\n`);
  }
}

/** QEMU takes seconds for the key of a LUKS image. */
function makeOurs(path: string, { size, options }: Storey, below: Storey | undefined): void {
  const unit = size.endsWith('M') ? MiB : KiB;
  const clusterSize = options.includes('cluster_size=16k') ? 16 * KiB : 64 * KiB;
  const backing = below === undefined ? undefined : ({ fileName: below.name, format: 'qcow2' } as const);
  makeLuksImage(path, { virtualSize: Number.parseInt(size, 10) * unit, clusterSize, backing });
}

/** Opens the first image with ours, with the keys of all. */
function openChain(folder: string, chain: readonly Storey[], beside: readonly Storey[] = []): Image {
  const [top, ...below] = chain;
  assert.ok(top !== undefined);
  const image = Image.open({
    path: join(folder, top.name),
    writable: true,
    locks: 'qemu',
    backing: filesOf(folder, below),
  });
  if (top.cipher !== 'plain') image.unlock(volumeKeyOf(image));
  image.unlockBelow(keysOf(folder, [...below, ...beside]));
  return image;
}

function filesOf(folder: string, chain: readonly Storey[]): readonly BackingFile[] {
  return chain.map(({ name }) => ({ fileName: name, path: join(folder, name), format: 'qcow2' }));
}

function keysOf(folder: string, chain: readonly Storey[]): ReadonlyMap<string, Uint8Array> {
  const keys = new Map<string, Uint8Array>();
  for (const [depth, { name, cipher }] of chain.entries()) {
    if (cipher === 'plain') continue;
    const path = join(folder, name);
    const backing = filesOf(folder, chain.slice(depth + 1));
    const image = Image.open({ path, writable: false, locks: 'qemu', backing });
    keys.set(path, volumeKeyOf(image));
    image.close();
  }
  return keys;
}

/** Whether QEMU reads the same from both. */
function assertSame(one: string, other: string, what: string): void {
  const { exit, stdout, stderr } = runTool('qemu-img', ['compare', ...secret, '--image-opts', one, other], '');
  assert.equal(exit, 0, `${what}: ${stdout}${stderr}`);
}

function assertClean(folder: string, chain: readonly Storey[]): void {
  const { exit, stdout } = runTool(
    'qemu-img',
    ['check', '-q', ...secret, '--image-opts', optionsOf(folder, chain)],
    '',
  );
  assert.equal(exit, 0, `${chain[0]?.name ?? ''}: ${stdout}`);
}

function bytesOf(image: Image): Uint8Array {
  const bytes = new Uint8Array(image.virtualSize);
  image.read(guestOffset(0), bytes);
  return bytes;
}

const base = { size: '1500k', options: '', commands: ['write -P 1 0 1300k', 'write -z 600k 100k'] } as const;
const mid = { size: '1600k', options: 'cluster_size=16k', commands: ['write -P 2 300k 50001', 'write -z 64k 64k'] };
const top = {
  size: '2M',
  options: '',
  commands: ['write -P 3 100k 1000', 'write -z 900k 200k', 'write -P 4 1900k 66k', 'write -P 5 64k 512'],
} as const;

describe('a commit in a chain with encrypted images', () => {
  const rows = [
    { what: 'from an encrypted image into a plain one', ciphers: ['luks', 'plain'], depth: 1 },
    { what: 'from a plain image into an encrypted one', ciphers: ['plain', 'luks', 'plain'], depth: 1 },
    { what: 'between encrypted ones, over a third', ciphers: ['luks', 'aes', 'luks'], depth: 2 },
  ] as const satisfies readonly { what: string; ciphers: readonly Cipher[]; depth: number }[];
  for (const { what, ciphers, depth } of rows) {
    test(`${what} leaves what qemu-img commit leaves`, () => {
      using folder = tempFolder();
      const shapes = ciphers.length === 2 ? [top, base] : [top, mid, base];
      const chain: readonly Storey[] = ciphers.map((cipher, index) => ({
        name: `layer-${index}`,
        cipher,
        ...(shapes[index] ?? base),
      }));
      const [ours, twin] = ['ours', 'twin'].map((name) => join(folder.path, name));
      assert.ok(ours !== undefined && twin !== undefined);
      mkdirSync(ours);
      mkdirSync(twin);
      build(ours, chain);
      for (const { name } of chain) copyFileSync(join(ours, name), join(twin, name));

      // QEMU finds no deeper image by its name when it has a secret, so it goes down step by step.
      for (let from = 0; from < depth; from += 1) {
        tool('qemu-img', ['commit', '-q', '-d', ...secret, '--image-opts', optionsOf(twin, chain.slice(from))]);
      }
      const image = openChain(ours, chain);
      const before = bytesOf(image);
      const steps = image.commit({ depth, mend: false });
      for (let next = steps.next(); next.done !== true; next = steps.next()) {
        // Between its steps the image reads as ever.
        assert.ok(Buffer.compare(bytesOf(image), before) === 0);
      }
      if (depth === 1) runToEnd(image.empty());
      assert.ok(Buffer.compare(bytesOf(image), before) === 0);
      image.close();
      for (const from of chain.keys()) assertClean(ours, chain.slice(from));
      for (const from of new Set([0, depth])) {
        const part = chain.slice(from);
        assertSame(optionsOf(ours, part), optionsOf(twin, part), part[0]?.name ?? '');
      }
    });
  }

  test('is refused while a key is not there, and changes nothing', () => {
    using folder = tempFolder();
    const { path } = folder;
    const chain: readonly Storey[] = [
      { name: 'top', cipher: 'plain', ...top },
      { name: 'base', cipher: 'luks', ...base },
    ];
    build(path, chain);
    const files = chain.map(({ name }) => join(path, name));
    const before = files.map((file) => readFileSync(file));
    const image = openChain(path, chain);
    image.unlockBelow(new Map());
    const refused = { code: 'passphrase-required', context: { layersBelow: 1 } };
    assert.throws(() => runToEnd(image.commit({ depth: 1, mend: false })), refused);
    assert.throws(() => runToEnd(image.rebase({ chain: [], mode: 'safe' })), refused);
    image.close();
    assert.ok(files.every((file, index) => readFileSync(file).equals(before[index] ?? Buffer.alloc(0))));
  });
});

describe('a rebase in a chain with encrypted images', () => {
  test('keeps what the guest sees: onto an encrypted image, onto a plain one, and onto none', () => {
    using folder = tempFolder();
    const { path } = folder;
    const first: Storey = { name: 'first', cipher: 'plain', ...base };
    const second: Storey = {
      name: 'second',
      cipher: 'luks',
      ...mid,
      commands: ['write -P 1 0 200k', 'write -P 9 500k 1M'],
    };
    build(path, [second]);
    for (const cipher of ['luks', 'plain'] as const) {
      const over: Storey = { name: `over-${cipher}`, cipher, ...top };
      build(path, [over, first]);
      const before = join(path, 'before.raw');
      tool('qemu-img', ['convert', ...secret, '-O', 'raw', '--image-opts', optionsOf(path, [over, first]), before]);
      const raw = `driver=raw,file.filename=${before}`;
      for (const [from, to] of [
        [[first], [second]],
        [[second], [first]],
        [[first], [second]],
        [[second], []],
      ] as const) {
        const what = `${cipher} to ${to[0]?.name ?? 'none'}`;
        const image = openChain(path, [over, ...from], to);
        runToEnd(image.rebase({ chain: filesOf(path, to), mode: 'safe' }));
        assert.ok(readFileSync(before).equals(bytesOf(image)), what);
        image.close();
        assertClean(path, [over, ...to]);
        assertSame(optionsOf(path, [over, ...to]), raw, what);
      }
    }
  });

  test('is refused onto an image whose key is not there, unless nobody is to look', () => {
    using folder = tempFolder();
    const { path } = folder;
    const first: Storey = { name: 'first', cipher: 'plain', ...base };
    const second: Storey = { name: 'second', cipher: 'luks', ...base };
    const over: Storey = { name: 'over', cipher: 'plain', ...top };
    build(path, [second]);
    build(path, [over, first]);
    const before = readFileSync(join(path, 'over'));
    const image = openChain(path, [over, first]);
    const wish = { chain: filesOf(path, [second]) };
    const refused = { code: 'passphrase-required', context: { other: true } };
    assert.throws(() => runToEnd(image.rebase({ ...wish, mode: 'safe' })), refused);
    assert.ok(readFileSync(join(path, 'over')).equals(before));
    runToEnd(image.rebase({ ...wish, mode: 'unsafe' }));
    image.close();
    const unlocked = openChain(path, [over, second]);
    assert.equal(bytesOf(unlocked)[0], 1);
    unlocked.close();
  });
});

test('what is read through encrypted images is what QEMU reads through them, whatever it is read for', () => {
  using folder = tempFolder();
  const { path } = folder;
  const chain: readonly Storey[] = [
    { name: 'top', cipher: 'luks', ...top },
    { name: 'mid', cipher: 'plain', ...mid },
    { name: 'base', cipher: 'aes', ...base },
  ];
  build(path, chain);
  const before = join(path, 'before.raw');
  tool('qemu-img', ['convert', ...secret, '-O', 'raw', '--image-opts', optionsOf(path, chain), before]);
  const content = readFileSync(before);
  const raw = `driver=raw,file.filename=${before}`;
  const image = openChain(path, chain);
  assert.equal(runToEnd(image.digest(undefined)), hash('sha256', content, 'hex'));

  const planned = runToEnd(image.planExport({ format: 'qcow2', layer: 'all', snapshot: undefined }));
  const bytes = new Uint8Array(planned.length);
  planned.read(0, bytes);
  writeFileSync(join(path, 'exported'), bytes);

  const key = quickLuks(usualLuks);
  const spec = { ...plainSpec, virtualSize: content.length, clusterSize: 16 * KiB };
  const beside = { fileName: join(path, 'data'), path: join(path, 'data'), raw: true };
  const copies: readonly (Storey & { readonly change: Partial<CreateSpec>; readonly compress: boolean })[] = [
    { ...base, name: 'plain', cipher: 'plain', change: {}, compress: false },
    { ...base, name: 'packed', cipher: 'plain', change: { compressionType: 'zstd' }, compress: true },
    { ...base, name: 'luks', cipher: 'luks', change: { encryption: { format: 'luks', ...key } }, compress: false },
    { ...base, name: 'beside', cipher: 'plain', change: { dataFile: beside }, compress: false },
  ];
  for (const { name, change, compress } of copies) {
    const target = { path: join(path, name), spec: { ...spec, ...change } };
    runToEnd(image.copyTo({ ...target, compress, layer: 'all', snapshot: undefined }));
  }
  image.close();
  for (const one of [{ ...base, name: 'exported', cipher: 'plain' } as const, ...copies]) {
    assertSame(optionsOf(path, [one]), raw, one.name);
    assertClean(path, [one]);
  }
  assert.ok(readFileSync(beside.path).equals(content));
});
