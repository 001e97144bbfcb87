// The main job on real input: cloud images of somebody else's tool go in with curl, live, and go out, and QEMU judges
// every file after every step.

import assert from 'node:assert/strict';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import { KiB, MiB } from '../../../src/base/units.ts';
import { qemuImg } from '../../support/qemu-img.ts';
import { startService } from '../../support/service-process.ts';
import type { ServiceProcess } from '../../support/service-process.ts';
import { tempFolder } from '../../support/temp-folder.ts';
import { cloudImages, diskSize, makeCloudImage, makeRawDisk } from './cloud-images.ts';
import { ask, sendFile, Traveller } from './traveller.ts';
import { assertSame, assertSilent, assertTwins, infoOf, snapshotBytes } from './twin.ts';
import type { Twins } from './twin.ts';

const watchdog = { timeout: 300_000 };
const folder = tempFolder();
const at = (name: string): string => join(folder.path, name);
let service: ServiceProcess;

before(async () => {
  service = await startService({ QCOWD_DATA_DIR: at('data') });
  makeRawDisk(at('disk.raw'), 1);
});
after(async () => {
  await service[Symbol.asyncDispose]();
  folder[Symbol.dispose]();
});

/** Sends a file of the folder with curl to a path of the service. */
async function send(file: string, path: string): Promise<Readonly<Record<string, unknown>>> {
  return sendFile(file, { folder: folder.path, url: `${service.url}${path}`, headers: [] });
}

function place(): { readonly url: string; readonly folder: string } {
  return { url: service.url, folder: folder.path };
}

function fileOf(image: Readonly<Record<string, unknown>>): string {
  return at(`data/images/${String(image['id'])}.qcow2`);
}

describe('a cloud image', () => {
  for (const { name, compat } of cloudImages) {
    test(`of ${name} clusters lives as QEMU's does`, watchdog, async () => {
      const cloud = at(`${name}.qcow2`);
      makeCloudImage(name, { raw: at('disk.raw'), target: cloud });
      const base = await send(`${name}.qcow2`, `/v1/imports/${name}`);
      assert.ok(readFileSync(fileOf(base)).equals(readFileSync(cloud)), 'kept as it was sent');
      const twins = { ours: fileOf(base), theirs: cloud };
      const bottom = new Traveller(place(), name, twins);
      assert.ok((await bottom.read('data')).equals(readFileSync(at('disk.raw'))), 'every byte is read');
      judgeUnchanged(twins, name);

      const top = await makeOverlay(name, compat);
      await changeContent(top);
      await takeSnapshots(top);
      const kept = snapshotBytes(folder.path, top.twins.theirs, 'second');
      await exportContent(top);
      await exportSnapshot(top, 'second', kept);
      await shareFile(top);
      if (compat === '0.10') await top.deleteSnapshot('second');
      await shrink(top);
      await exportContent(top);
      // QEMU reads a snapshot at the current size of the disk (T71), so what it was is known from before.
      if (compat === '1.1') await exportSnapshot(top, 'second', kept);
      judgeUnchanged(twins, `${name}, below the overlay`);
    });
  }

  test('of raw bytes becomes what qemu-img makes of it', watchdog, async () => {
    const made = await send('disk.raw', '/v1/imports/from-raw?format=raw');
    qemuImg('convert', '-f', 'raw', '-O', 'qcow2', at('disk.raw'), at('from-raw.qcow2'));
    const twins = { ours: fileOf(made), theirs: at('from-raw.qcow2') };
    const traveller = new Traveller(place(), 'from-raw', twins);
    await traveller.judgeClosed('imported');
    await traveller.write({ offset: 5 * MiB - 10, length: 90 * KiB, value: 3 });
    await traveller.resize(20 * MiB, 'grow');
    await traveller.judgeClosed('written and grown');
  });

  test('leaves nothing else, and files that are sound when the service has ended', watchdog, async () => {
    assert.equal(await service.end('SIGTERM'), 0);
    const images = readdirSync(at('data/images'));
    assert.equal(images.length, 2 * cloudImages.length + 1);
    for (const image of images) assertSilent(at(`data/images/${image}`), image);
    assert.deepEqual(readdirSync(at('data/staging')), []);
  });
});

/** What nobody changes is sound while it is open, too. */
function judgeUnchanged(twins: Twins, note: string): void {
  assertSilent(twins.ours, note);
  assertTwins(folder.path, twins, note);
}

async function makeOverlay(name: string, compat: string): Promise<Traveller> {
  const body = { name: `${name}-top`, compat, backing: { image: name } };
  const made = await ask(`${service.url}/v1/images`, { method: 'POST', body });
  const twins = { ours: fileOf(made), theirs: at(`${name}-top.qcow2`) };
  const below = ['-b', `${name}.qcow2`, '-F', 'qcow2'];
  qemuImg('create', '-q', '-f', 'qcow2', '-o', `compat=${compat}`, ...below, twins.theirs);
  const top = new Traveller(place(), `${name}-top`, twins);
  top.judge('made');
  return top;
}

async function changeContent(top: Traveller): Promise<void> {
  await top.resize(20 * MiB, 'grow');
  top.judge('grown');
  await top.write({ offset: 12_345, length: 70_000, value: 1 });
  await top.write({ offset: 4 * MiB, length: 300 * KiB, value: 2 });
  await top.write({ offset: diskSize - 1000, length: 3000, value: 3 });
  await top.write({ offset: 18 * MiB + 1, length: 1, value: 4 });
  await top.judgeClosed('written');
  await top.zero({ offset: 4 * MiB + 64 * KiB, length: 128 * KiB }, true);
  await top.zero({ offset: MiB + 777, length: 200_000 }, true);
  await top.zero({ offset: 7 * MiB, length: 64 * KiB }, false);
  top.judge('zeroed');
  await top.discard({ offset: 4 * MiB + 192 * KiB + 5, length: 100 * KiB });
  await top.discard({ offset: 0, length: 128 * KiB });
  await top.judgeClosed('discarded');
}

async function takeSnapshots(top: Traveller): Promise<void> {
  await top.snapshot('first');
  top.judge('snapshot taken');
  await top.write({ offset: 4 * MiB + 10, length: 90 * KiB, value: 5 });
  await top.snapshot('second');
  await top.write({ offset: 16 * MiB, length: 2 * MiB, value: 6 });
  await top.discard({ offset: 4 * MiB, length: 64 * KiB });
  top.judge('changed between snapshots');
  await top.revert('first');
  await top.judgeClosed('reverted');
  await top.write({ offset: 10 * MiB + 3, length: 5000, value: 7 });
  await top.deleteSnapshot('first');
  await top.judgeClosed('snapshot deleted');
}

/** A flattened file equals the chain that it was made of. */
async function exportContent(top: Traveller): Promise<void> {
  writeFileSync(at('flat.qcow2'), await top.read('file'));
  assertSilent(at('flat.qcow2'), 'exported');
  assertSame(at('flat.qcow2'), top.twins.theirs, 'exported');
  assert.equal(infoOf(at('flat.qcow2'))['backing-filename'], undefined);
  const expected = rawOf(top.twins.theirs);
  assert.ok((await top.read('file?format=raw')).equals(expected), 'exported raw');
  assert.ok((await top.read('data')).equals(expected), 'read');
}

async function exportSnapshot(top: Traveller, name: string, expected: Buffer): Promise<void> {
  assert.ok((await top.read(`file?format=raw&snapshot=${name}`)).equals(expected), `snapshot ${name} exported`);
  assert.ok((await top.read(`snapshots/${name}/data`)).equals(expected), `snapshot ${name} read`);
}

function rawOf(path: string): Buffer {
  qemuImg('convert', '-f', 'qcow2', '-O', 'raw', path, at('twin.raw'));
  return readFileSync(at('twin.raw'));
}

/** Another program changes the file; afterwards the service counts what qemu-img counts. */
async function shareFile(top: Traveller): Promise<void> {
  await top.handOver(['write -P 8 9M 70k', 'write -z -u 16M 1M', 'discard 4M 128k', 'write -P 9 19M 512']);
  top.judge('changed by qemu-io');
  assert.ok((await top.read('data')).equals(rawOf(top.twins.theirs)), 'what qemu-io wrote is read');
  await top.write({ offset: 9 * MiB + 1000, length: 1000, value: 10 });
  await top.judgeClosed('written after qemu-io');
  const report = await top.post('check');
  assert.equal(report['clean'], true);
  const counted = assertSilent(top.twins.ours, 'checked');
  assert.deepEqual(
    [report['imageEndOffset'], report['totalClusters'], report['allocatedClusters'], report['fragmentedClusters']],
    [
      counted['image-end-offset'],
      counted['total-clusters'],
      counted['allocated-clusters'],
      counted['fragmented-clusters'] ?? 0,
    ],
  );
}

/** To the middle of a cluster. */
async function shrink(top: Traveller): Promise<void> {
  await top.resize(6 * MiB + 512, 'shrink');
  top.judge('shrunk');
  await top.write({ offset: 6 * MiB, length: 512, value: 11 });
  await top.judgeClosed('written to its end');
}
