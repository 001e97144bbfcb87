// A file that other programs get and change, clause by clause:
//
//   detach  stores what was written without a flush      services/hand-over.test.ts
//           stores bitmaps, none in use                   "comes back shorter …"
//           forgets keys and proven passphrases           "is opened with the passphrase of now …"
//           releases every lock, the data file's too      "lets go of a data file …"
//           fails as a whole                              services/hand-over.test.ts
//           asks the lease                                routes/leases.test.ts
//   attach  waits for the other program                   "does not come back while …"
//           finds size, version, snapshots, bitmaps       "comes back as another program left it", "… shorter …"
//           finds bytes, those of a data file too         the same, "lets go of a data file …"
//           finds key slots                               "is opened with the passphrase of now …"
//           settles a dirty bit and lost bitmaps          "is mended when the other program was killed"
//           settles what it stands on                     "comes back without its base …"
//           keeps runtime options, not cached bytes       "comes back shorter …"
//           never repeats a generation                    all of them
//           refuses what is no image of before            "stays away as long as …"
//           takes what a check can mend                   "comes back broken inside …"

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';

import { chanceLength, Image } from '../../src/engine/image.ts';
import { deriveHere } from '../../src/engine/transform/key-derivation.ts';
import { checkImage, infoJson, qemuImg, qemuIo, runTool } from '../support/qemu-img.ts';
import { codeOf, startTestService } from '../support/test-service.ts';
import type { ImageBody, TestService } from '../support/test-service.ts';

const MiB = 1_048_576;
const passphrase = 'correct horse';
const io = { format: 'qcow2', readOnly: false, syncs: false, discard: 'unmap' } as const;

describe('a file that is handed over', () => {
  test('comes back as another program left it (OPS-05)', { timeout: 120_000 }, async () => {
    await using service = await startTestService();
    const made = await service.create({ name: 'vm', virtualSize: 4 * MiB });
    const path = join(service.folder, 'images', `${made.id}.qcow2`);
    await service.write('vm', 0, Buffer.alloc(65_536, 1));
    await service.post('/v1/images/vm/snapshots', { name: 'ours' }).expect(201);
    const held = runTool('qemu-img', ['resize', '-f', 'qcow2', path, '8M'], '');
    assert.notEqual(held.exit, 0, 'while the service has it, nobody else writes it');
    const left = (await service.post('/v1/images/vm/detach').expect(200)).body as ImageBody;
    qemuImg('snapshot', '-c', 'theirs', path);
    qemuImg('resize', '-f', 'qcow2', path, '8M');
    qemuIo(path, ['write -P 9 6M 64k', 'write -P 5 0 64k'], io);
    const came = (await service.post('/v1/images/vm/attach').expect(200)).body as ImageBody;
    assert.deepEqual([came['state'], came.virtualSize, came['snapshotCount']], ['ready', 8 * MiB, 2]);
    assert.ok(came.generation > left.generation);
    const read = await service.bytes('/v1/images/vm/data').expect(200);
    const bytes = read.body as Buffer;
    assert.deepEqual([bytes.length, bytes[0], bytes[6 * MiB]], [8 * MiB, 5, 9]);
    const old = await service.bytes('/v1/images/vm/snapshots/theirs/data').expect(200);
    assert.deepEqual([(old.body as Buffer).length, (old.body as Buffer)[0]], [4 * MiB, 1]);
    await service.post('/v1/images/vm/snapshots', { name: 'again' }).expect(201);
    await service.post('/v1/images/vm/detach').expect(200);
    assert.equal(checkImage(path, 'none').exit, 0);
  });

  test('does not come back while the other program has it', { timeout: 120_000 }, async () => {
    await using service = await startTestService();
    const { id } = await service.create({ name: 'vm', virtualSize: 4 * MiB });
    await service.post('/v1/images/vm/detach').expect(200);
    const path = join(service.folder, 'images', `${id}.qcow2`);
    const holder = spawn('qemu-io', ['-f', 'qcow2', path], { stdio: ['pipe', 'pipe', 'inherit'] });
    try {
      holder.stdin.write('read 0 512\n');
      await once(holder.stdout, 'data');
      const refused = await service.post('/v1/images/vm/attach');
      assert.deepEqual([refused.status, codeOf(refused)], [409, 'image-in-use']);
      const shown = (await service.get('/v1/images/vm').expect(200)).body as ImageBody;
      assert.equal(shown['state'], 'detached');
    } finally {
      holder.stdin.end('quit\n');
      await once(holder, 'exit');
    }
    await service.post('/v1/images/vm/attach').expect(200);
  });

  test('comes back shorter, of another version, with other snapshots and bitmaps', { timeout: 120_000 }, async () => {
    await using service = await startTestService();
    const { id } = await service.create({ name: 'vm', virtualSize: 4 * MiB });
    const path = join(service.folder, 'images', `${id}.qcow2`);
    await service.write('vm', 0, Buffer.alloc(65_536, 1));
    await service.post('/v1/images/vm/snapshots', { name: 'ours' }).expect(201);
    for (const name of ['kept', 'gone', 'cleared']) {
      await service.post('/v1/images/vm/bitmaps', { name, granularity: 65_536 }).expect(201);
    }
    await service.write('vm', 65_536, Buffer.alloc(65_536, 2));
    const l2CacheEntryBytes = 8192;
    await service.patch('/v1/images/vm/runtime', { l2CacheEntryBytes }).expect(200);
    const tag = (await service.bytes('/v1/images/vm/data').expect(200)).headers['etag'] as string;
    await service.post('/v1/images/vm/detach').expect(200);
    const { bitmaps = [] } = dataOf(infoJson(path));
    assert.deepEqual(
      bitmaps.map(({ name, flags }) => [name, flags]),
      ['kept', 'gone', 'cleared'].map((name) => [name, ['auto']]),
      'all are stored, and none is in use',
    );

    qemuImg('bitmap', '--remove', path, 'gone');
    qemuImg('bitmap', '--clear', path, 'cleared');
    qemuImg('bitmap', '--add', '--disable', path, 'theirs');
    qemuImg('snapshot', '-d', 'ours', path);
    qemuImg('resize', '-q', '--shrink', '-f', 'qcow2', path, '2M');
    qemuImg('amend', '-f', 'qcow2', '-o', 'lazy_refcounts=on', path);
    const came = (await service.post('/v1/images/vm/attach').expect(200)).body as ImageBody;
    const { virtualSize, snapshotCount, bitmapCount, lazyRefcounts } = came as unknown as Record<string, unknown>;
    assert.deepEqual([virtualSize, snapshotCount, bitmapCount, lazyRefcounts], [2 * MiB, 0, 3, true]);
    const listed = (await service.get('/v1/images/vm/bitmaps').expect(200)).body as { items: ImageBody[] };
    assert.deepEqual(
      listed.items.map((bitmap) => [bitmap['name'], bitmap['enabled']]),
      [
        ['kept', true],
        ['cleared', true],
        ['theirs', false],
      ],
    );
    for (const [name, dirty] of [
      ['kept', [65_536, 65_536]],
      ['cleared', []],
    ] as const) {
      const { items } = (await service.get(`/v1/images/vm/bitmaps/${name}/extents`).expect(200)).body as {
        items: readonly { readonly offset: number; readonly length: number; readonly dirty?: boolean }[];
      };
      const found = items.filter((one) => one.dirty !== false).flatMap(({ offset, length }) => [offset, length]);
      assert.deepEqual(found, dirty, name);
    }
    // What was asked for before holds; what was kept of the bytes does not.
    const info = (await service.get('/v1/images/vm/info').expect(200)).body as {
      caches: { l2: { entryBytes: number } };
    };
    assert.equal(info.caches.l2.entryBytes, l2CacheEntryBytes);
    await service.bytes('/v1/images/vm/data').set('If-None-Match', tag).expect(200);
    await service.bytes('/v1/images/vm/data').set('If-Range', tag).set('Range', 'bytes=0-9').expect(200);
    await service.post('/v1/images/vm/detach').expect(200);
    qemuImg('amend', '-f', 'qcow2', '-o', 'lazy_refcounts=off', path);
    for (const name of ['kept', 'cleared', 'theirs']) qemuImg('bitmap', '--remove', path, name);
    qemuImg('amend', '-f', 'qcow2', '-o', 'compat=0.10', path);
    const old = (await service.post('/v1/images/vm/attach').expect(200)).body as ImageBody;
    assert.deepEqual([old['compat'], old['bitmapCount']], ['0.10', 0]);
    assert.ok(old.generation > came.generation);
    await service.write('vm', 0, Buffer.from('more'));
  });

  test('is mended when the other program was killed', { timeout: 120_000 }, async () => {
    await using service = await startTestService();
    const { id } = await service.create({ name: 'vm', virtualSize: 4 * MiB, lazyRefcounts: true });
    const path = join(service.folder, 'images', `${id}.qcow2`);
    await service.post('/v1/images/vm/bitmaps', { name: 'records' }).expect(201);
    await service.post('/v1/images/vm/detach').expect(200);
    const commands = 'write -P 7 0 300k\nflush\nsigraise 9\n';
    assert.throws(() => runTool('qemu-io', ['-f', 'qcow2', path], commands), /ended by SIGKILL/);
    assert.equal(infoJson(path)['dirty-flag'], true);
    const came = (await service.post('/v1/images/vm/attach').expect(200)).body as ImageBody;
    assert.deepEqual([came['state'], came['dirty']], ['ready', false]);
    const body = await startOf(service, 'vm', 307200);
    assert.ok(body.equals(Buffer.alloc(307_200, 7)));
    assert.equal(((await service.post('/v1/images/vm/check').expect(200)).body as { clean: boolean }).clean, true);
    // It may have missed what was written: it is told, and can only be removed.
    const { items } = (await service.get('/v1/images/vm/bitmaps').expect(200)).body as { items: ImageBody[] };
    assert.deepEqual(
      items.map((bitmap) => bitmap['inconsistent']),
      [true],
    );
  });

  test('is opened with the passphrase of now, and forgets that of before', { timeout: 120_000 }, async () => {
    await using service = await startTestService();
    const encryption = { format: 'luks', passphrase, iterTimeMs: 1 };
    const { id } = await service.create({ name: 'safe', virtualSize: MiB, encryption });
    const path = join(service.folder, 'images', `${id}.qcow2`);
    await service.post('/v1/images/safe/unlock', { passphrase }).expect(204);
    await service.write('safe', 0, Buffer.alloc(512, 3));
    await service.post('/v1/images/safe/detach').expect(200);
    changePassphrase(path, 'battery');
    await service.post('/v1/images/safe/attach').expect(200);
    const read = () => service.bytes('/v1/images/safe/data').set('Range', 'bytes=0-511');
    const withWord = (word: string) => ({ 'Image-Passphrase': `:${Buffer.from(word).toString('base64')}:` });
    assert.equal(codeIn(await read()), 'passphrase-required');
    assert.equal(codeIn(await read().set(withWord(passphrase))), 'wrong-passphrase');
    const opened = await read().set(withWord('battery')).expect(206);
    assert.ok((opened.body as Buffer).equals(Buffer.alloc(512, 3)));
  });

  test('lets go of a data file, too, and reads it as it is then', { timeout: 120_000 }, async () => {
    await using service = await startTestService();
    const { id } = await service.create({ name: 'vm', virtualSize: MiB, dataFile: { raw: true } });
    const path = join(service.folder, 'images', `${id}.data`);
    await service.write('vm', 0, Buffer.alloc(65_536, 1));
    assert.ok(isLocked(path));
    await service.post('/v1/images/vm/detach').expect(200);
    assert.ok(!isLocked(path) && !isLocked(path.replace(/data$/, 'qcow2')));
    qemuIo(path, ['write -P 2 0 4k'], { ...io, format: 'raw' });
    const firstByte = async (): Promise<number | undefined> => {
      await service.post('/v1/images/vm/attach').expect(200);
      const body = await startOf(service, 'vm', 4097);
      assert.equal(body[4096], 1);
      return body[0];
    };
    assert.equal(await firstByte(), 2);
    await service.post('/v1/images/vm/detach').expect(200);
    writeFileSync(`${path}.new`, readFileSync(path).fill(8, 0, 4096));
    renameSync(`${path}.new`, path);
    assert.equal(await firstByte(), 8);
  });

  test('comes back without its base when it was taken off it', { timeout: 120_000 }, async () => {
    await using service = await startTestService();
    await service.create({ name: 'base', virtualSize: MiB });
    await service.write('base', 0, Buffer.alloc(65_536, 4));
    const { id } = await service.create({ name: 'top', backing: { image: 'base' } });
    const path = join(service.folder, 'images', `${id}.qcow2`);
    await service.post('/v1/images/top/detach').expect(200);
    qemuImg('rebase', '-f', 'qcow2', '-b', '', path);
    const came = (await service.post('/v1/images/top/attach').expect(200)).body as ImageBody;
    assert.equal(came['backing'] ?? null, null);
    assert.equal(((await service.get('/v1/images/base').expect(200)).body as ImageBody)['dependentCount'], 0);
    await service.delete('/v1/images/base').expect(204);
    const body = await startOf(service, 'top', 10);
    assert.ok(body.equals(Buffer.alloc(10, 4)));
    await service.write('top', 0, Buffer.from('x'));
  });

  test('stays away as long as it is not what it was', { timeout: 120_000 }, async () => {
    await using service = await startTestService();
    const { id } = await service.create({ name: 'vm', virtualSize: MiB });
    const path = join(service.folder, 'images', `${id}.qcow2`);
    await service.write('vm', 0, Buffer.from('mine'));
    const left = (await service.post('/v1/images/vm/detach').expect(200)).body as ImageBody;
    const good = readFileSync(path);
    const away = join(service.folder, 'away.raw');
    writeFileSync(away, Buffer.alloc(MiB, 5));
    const damages: readonly (readonly [() => unknown, string])[] = [
      [() => rmSync(path), 'image-detached'],
      [() => writeFileSync(path, ''), 'image-corrupt'],
      [() => writeFileSync(path, Buffer.alloc(MiB, 5)), 'image-corrupt'],
      [() => qemuImg('create', '-q', '-f', 'vmdk', path, '1M'), 'image-corrupt'],
      [() => qemuImg('rebase', '-u', '-f', 'qcow2', '-F', 'raw', '-b', away, path), 'unsafe-image'],
    ];
    for (const [damage, code] of damages) {
      damage();
      const refused = await service.post('/v1/images/vm/attach');
      assert.equal(codeOf(refused), code);
      const shown = (await service.get('/v1/images/vm').expect(200)).body as ImageBody;
      assert.deepEqual([shown['state'], shown['stateReason']], ['detached', undefined], code);
      writeFileSync(path, good);
    }
    const came = (await service.post('/v1/images/vm/attach').expect(200)).body as ImageBody;
    assert.ok(came.generation > left.generation);
    const body = await startOf(service, 'vm', 4);
    assert.equal(body.toString(), 'mine');
  });

  test('comes back broken inside, is checked, and mended', { timeout: 120_000 }, async () => {
    await using service = await startTestService();
    const { id } = await service.create({ name: 'vm', virtualSize: MiB });
    const path = join(service.folder, 'images', `${id}.qcow2`);
    await service.write('vm', 0, Buffer.alloc(200_000, 1));
    await service.post('/v1/images/vm/detach').expect(200);
    const file = readFileSync(path);
    // The refcounts of the whole file.
    const block = file.readUIntBE(file.readUIntBE(50, 6) + 2, 6);
    writeFileSync(path, file.fill(0, block, block + 65_536));
    await service.post('/v1/images/vm/attach').expect(200);
    const report = (await service.post('/v1/images/vm/check').expect(200)).body as { corruptions: number };
    assert.ok(report.corruptions > 0);
    await service.post('/v1/images/vm/check', { repair: 'all' }).expect(200);
    const body = await startOf(service, 'vm', 200000);
    assert.ok(body.equals(Buffer.alloc(200_000, 1)));
    await service.post('/v1/images/vm/detach').expect(200);
    assert.equal(checkImage(path, 'none').exit, 0);
  });
});

/** As another program does it; QEMU takes a second to find out how fast it is. */
function changePassphrase(path: string, next: string): void {
  const image = Image.open({ path, writable: true, backing: [], locks: 'qemu', caches: undefined });
  const volumeKey = deriveHere(image.findVolumeKey(Buffer.from(passphrase)));
  const newPassphrase = Buffer.from(next);
  const change = { newPassphrase, volumeKey, iterations: 1000, chance: randomBytes(chanceLength) };
  image.changeKeySlots(deriveHere(image.planKeySlots({ state: 'active', slot: 1, passphrase: undefined, ...change })));
  image.changeKeySlots(deriveHere(image.planKeySlots({ state: 'inactive', slot: 0, passphrase: undefined })));
  image.close();
}

interface Bitmap {
  readonly name: string;
  readonly flags: readonly string[];
}

/** What `qemu-img info` tells of the format alone. */
function dataOf(info: Readonly<Record<string, unknown>>): { readonly bitmaps?: readonly Bitmap[] } {
  return (info['format-specific'] as { readonly data: { readonly bitmaps?: readonly Bitmap[] } }).data;
}

async function startOf(service: TestService, image: string, length: number): Promise<Buffer> {
  const range = `bytes=0-${String(length - 1)}`;
  return (await service.bytes(`/v1/images/${image}/data`).set('Range', range).expect(206)).body as Buffer;
}

function isLocked(path: string): boolean {
  return readFileSync('/proc/locks', 'utf8').includes(`:${String(statSync(path).ino)} `);
}

/** The code of a problem that came as bytes. */
function codeIn(answer: { readonly body: unknown }): unknown {
  const { body } = answer;
  return Buffer.isBuffer(body) ? (JSON.parse(body.toString()) as { code: string }).code : (body as ImageBody)['code'];
}
