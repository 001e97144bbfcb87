import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { hash, randomBytes } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

import { DataDirectory } from '../../src/store/data-directory.ts';
import { behind } from '../../src/store/staging-writer.ts';
import { someId } from '../support/catalog-values.ts';
import { tempFolder } from '../support/temp-folder.ts';

test('the folders are made for this user only, and made again is no harm', async () => {
  using folder = tempFolder();
  const path = join(folder.path, 'data');
  await DataDirectory.open(path);
  await DataDirectory.open(path);
  for (const made of [path, join(path, 'images'), join(path, 'staging')]) {
    assert.equal(statSync(made).mode & 0o777, 0o700);
  }
});

test('whether blocks are shared is tried, as cp does, and nothing is left behind', async () => {
  using folder = tempFolder();
  const directory = await DataDirectory.open(folder.path);
  const [from, to] = ['from', 'to'].map((name) => join(folder.path, name));
  assert.ok(from !== undefined && to !== undefined);
  writeFileSync(from, randomBytes(65_536));
  const { status } = spawnSync('cp', ['--reflink=always', from, to], { stdio: 'ignore' });
  assert.equal(await directory.sharesBlocks(), status === 0);
  assert.deepEqual(readdirSync(join(folder.path, 'staging')), []);
});

test('a staged file is counted, digested and published under its id', async () => {
  using folder = tempFolder();
  const directory = await DataDirectory.open(folder.path);
  const id = someId(1);
  const bytes = randomBytes(300_000);
  const writer = await directory.stage(id, { digest: true });
  await writer.write([bytes.subarray(0, 100_001), new Uint8Array(0), bytes.subarray(100_001, 100_002)]);
  await writer.write([bytes.subarray(100_002)]);
  assert.equal(writer.length, bytes.length);
  const digest = await writer.finish();
  assert.deepEqual(Buffer.from(digest ?? []), hash('sha256', bytes, 'buffer'));
  assert.deepEqual(await directory.list('staging'), [id]);
  assert.equal(await directory.identify(id), undefined);

  await directory.publish(id);
  assert.deepEqual(readFileSync(directory.imagePath(id)), bytes);
  assert.equal(statSync(directory.imagePath(id)).mode & 0o777, 0o600);
  assert.deepEqual(await directory.list('staging'), []);
  assert.deepEqual(await directory.list('images'), [id]);
});

test('a data file is published, known and removed with its image', async () => {
  using folder = tempFolder();
  const directory = await DataDirectory.open(folder.path);
  const [id, alone] = [someId(1), someId(2)];
  writeFileSync(directory.stagingPath(id), 'image');
  writeFileSync(directory.dataPath('staging', id), randomBytes(100_000));
  writeFileSync(directory.dataPath('staging', alone), 'left behind');
  await directory.publish(id);
  assert.deepEqual([await directory.listData('staging'), await directory.listData('images')], [[alone], [id]]);
  assert.ok((await directory.occupied('images')) >= 100_000);
  const before = await directory.identify(id);
  utimesSync(directory.dataPath('images', id), 1, 1);
  assert.notEqual(await directory.identify(id), before);
  await directory.remove('images', id);
  await directory.remove('staging', alone);
  assert.deepEqual([await directory.listData('staging'), await directory.listData('images')], [[], []]);
});

test('what was written is skipped, wherever it ends', () => {
  const pieces = ['abc', '', 'de', 'f'].map((text) => Buffer.from(text));
  for (let length = 0; length <= 6; length += 1) {
    const rest = behind(pieces, length);
    assert.equal(Buffer.concat(rest).toString(), 'abcdef'.slice(length));
    assert.ok(rest.every((piece) => piece.length > 0));
  }
});

test('an aborted staging file is gone', async () => {
  using folder = tempFolder();
  const directory = await DataDirectory.open(folder.path);
  const writer = await directory.stage(someId(1), { digest: false });
  await writer.write([randomBytes(10)]);
  await writer.abort();
  assert.equal(existsSync(directory.stagingPath(someId(1))), false);
});

test('a staging file never follows or replaces what is there', async () => {
  using folder = tempFolder();
  const directory = await DataDirectory.open(folder.path);
  const victim = join(folder.path, 'victim');
  writeFileSync(victim, 'untouched');
  symlinkSync(victim, directory.stagingPath(someId(1)));
  await assert.rejects(directory.stage(someId(1), { digest: false }), { code: 'EEXIST' });
  assert.equal(readFileSync(victim, 'utf8'), 'untouched');
});

test('a name that is no id of ours never becomes a path', async () => {
  using folder = tempFolder();
  const directory = await DataDirectory.open(folder.path);
  for (const name of ['../victim', 'vm1', 'img_../../etc/passwd', '', `${someId(1)}/x`]) {
    assert.throws(() => directory.imagePath(name), /named by an id/);
  }
});

test('files that we did not name are not listed', async () => {
  using folder = tempFolder();
  const directory = await DataDirectory.open(folder.path);
  writeFileSync(join(folder.path, 'images', 'notes.txt'), '');
  writeFileSync(join(folder.path, 'images', 'mine.qcow2'), '');
  writeFileSync(directory.imagePath(someId(2)), '');
  mkdirSync(join(folder.path, 'images', 'lost+found'));
  assert.deepEqual(await directory.list('images'), [someId(2)]);
});

test('removing is done once and repeated without harm', async () => {
  using folder = tempFolder();
  const directory = await DataDirectory.open(folder.path);
  writeFileSync(directory.imagePath(someId(1)), 'x');
  await directory.remove('images', someId(1));
  await directory.remove('images', someId(1));
  assert.deepEqual(await directory.list('images'), []);
});

test('the identity of a file changes with its bytes, its time and the file itself', async () => {
  using folder = tempFolder();
  const directory = await DataDirectory.open(folder.path);
  const path = directory.imagePath(someId(1));
  writeFileSync(path, 'one');
  const first = await directory.identify(someId(1));
  assert.equal(await directory.identify(someId(1)), first);
  utimesSync(path, 1, 1);
  const touched = await directory.identify(someId(1));
  assert.notEqual(touched, first);
  writeFileSync(path, 'longer');
  utimesSync(path, 1, 1);
  assert.notEqual(await directory.identify(someId(1)), touched);
});

test('free space is told', async () => {
  using folder = tempFolder();
  const directory = await DataDirectory.open(folder.path);
  const { freeBytes, totalBytes } = await directory.space();
  assert.ok(freeBytes > 0 && freeBytes <= totalBytes);
});
