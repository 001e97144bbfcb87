// QEMU's tools over an image of the matrix, whether it is encrypted or not, and ours.

import assert from 'node:assert/strict';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { present } from '../../../src/base/assert.ts';
import { Image, oldAesKeyOf } from '../../../src/engine/image.ts';
import type { BackingFile, CreateSpec, DataFileSource } from '../../../src/engine/image.ts';
import { runToEnd } from '../../../src/engine/operations/steps.ts';
import {
  createEncrypted,
  openUnlocked,
  passphrase,
  qemuIoEncrypted,
  qemuOptions,
  secret,
} from '../../support/encrypted-image.ts';
import { quickLuks, usualLuks } from '../../support/luks-image.ts';
import { listAll, plainRuns } from '../../support/guest-oracle.ts';
import { assertTellsLike } from '../../support/info-judge.ts';
import { infoJson, qemuImg, qemuIo, runTool } from '../../support/qemu-img.ts';
import type { MapRun } from '../../support/qemu-img.ts';
import { dirtyByQemu } from '../bitmap-bits.ts';
import type { Stretch } from '../bitmap-bits.ts';
import { createOptions, sizeOf } from './matrix-case.ts';
import type { MatrixCase } from './matrix-case.ts';

const topName = 'image.qcow2';

interface Bitmap {
  readonly name: string;
  readonly granularity: number;
}

/** One image in a folder of its own. */
export class MatrixImage {
  readonly path: string;
  readonly #folder: string;
  readonly #choice: MatrixCase;

  constructor(folder: string, choice: MatrixCase) {
    this.#folder = folder;
    this.#choice = choice;
    this.path = join(folder, topName);
  }

  /** The chain below, nearest first. */
  get backing(): readonly BackingFile[] {
    const { backing } = this.#choice;
    if (backing === 'none') return [];
    const fileName = `base.${backing}`;
    return [{ fileName, format: backing, path: join(this.#folder, fileName) }];
  }

  /** QEMU and we store its whole path. */
  get #dataFile(): DataFileSource {
    const path = join(this.#folder, 'image.data');
    return { fileName: path, path };
  }

  get #isEncrypted(): boolean {
    return this.#choice.encryption !== 'none';
  }

  /** A base that is shorter than the image, with data in its first half (T13). */
  makeBase(): void {
    const { backing, clusterBits } = this.#choice;
    if (backing === 'none') return;
    const path = join(this.#folder, `base.${backing}`);
    const cluster = 2 ** clusterBits;
    qemuImg('create', '-q', '-f', backing, path, String(16 * cluster + 512));
    qemuIo(path, [`write -P 51 0 ${9 * cluster}`], {
      format: backing,
      readOnly: false,
      syncs: false,
      discard: 'unmap',
    });
  }

  createWithQemu(): void {
    const { encryption, dataFile } = this.#choice;
    const { path: dataPath } = this.#dataFile;
    const data =
      dataFile === 'none' ? [] : [`data_file=${dataPath},data_file_raw=${dataFile === 'raw' ? 'on' : 'off'}`];
    const below = this.backing.map(({ fileName, format }) => `backing_file=${fileName},backing_fmt=${format}`);
    const options = [createOptions(this.#choice), ...below, ...data].join(',');
    const size = String(sizeOf(this.#choice));
    if (encryption === 'none') {
      qemuImg('create', '-q', '-f', 'qcow2', '-o', options, this.path, size);
      return;
    }
    const encrypt = encryption === 'luks' ? { 'iter-time': '10' } : {};
    createEncrypted(this.path, { format: encryption, encrypt, options, size });
  }

  createWithOurs(): void {
    const { version, clusterBits, refcountBits, extended, compression, encryption, dataFile } = this.#choice;
    const [below] = this.backing;
    const spec: CreateSpec = {
      virtualSize: sizeOf(this.#choice),
      clusterSize: 2 ** clusterBits,
      compat: version === 2 ? '0.10' : '1.1',
      refcountBits,
      lazyRefcounts: false,
      extendedL2: extended,
      compressionType: compression === 'zstd' ? 'zstd' : 'zlib',
      preallocation: 'off',
      backing: below === undefined ? undefined : { fileName: below.fileName, format: below.format },
      encryption: encryptionOf(encryption),
      dataFile: dataFile === 'none' ? undefined : { ...this.#dataFile, raw: dataFile === 'raw' },
    };
    runToEnd(Image.create(this.path, spec));
  }

  io(commands: readonly string[]): void {
    if (this.#isEncrypted) qemuIoEncrypted(this.path, commands);
    else qemuIo(this.path, commands, { format: 'qcow2', readOnly: false, syncs: false, discard: 'unmap' });
  }

  /** The exit code of `qemu-img check`. */
  check(): number {
    return runTool('qemu-img', ['check', '-q', ...this.#named], '').exit;
  }

  addBitmap(name: string): void {
    qemuImg('bitmap', '--add', ...this.#named, name);
  }

  /** What `qemu-img info` says of a bitmap. */
  granularityOf(name: string): number {
    const { data } = infoJson(this.path)['format-specific'] as {
      readonly data: { readonly bitmaps?: readonly Bitmap[] };
    };
    return present(
      (data.bitmaps ?? []).find((bitmap) => bitmap.name === name),
      'QEMU knows the bitmap',
    ).granularity;
  }

  /** The dirty stretches by QEMU's word; undefined of an encrypted image, which its server would have to unlock. */
  async dirtyByQemu(name: string): Promise<readonly Stretch[] | undefined> {
    return this.#isEncrypted ? undefined : await dirtyByQemu(this.path, name);
  }

  /** What we tell of it, open for reading, is what `qemu-img info` and `qemu-img map` say. */
  assertToldAlike(image: Image): void {
    const dataFile = this.#choice.dataFile === 'none' ? undefined : this.#dataFile.path;
    assertTellsLike(image, this.path, { dataFile });
    const found = listAll(image.extents.bind(image), { size: image.virtualSize, limit: 5 });
    const map = JSON.parse(qemuImg('map', '--output=json', ...this.#named)) as readonly MapRun[];
    assert.deepEqual(found, plainRuns(map));
  }

  /** By the word of `qemu-img compare`. */
  readsAs(bytes: Uint8Array): boolean {
    const raw = `${this.path}.raw`;
    writeFileSync(raw, bytes);
    const files = this.#isEncrypted
      ? [...this.#named, `driver=raw,file.filename=${raw}`]
      : ['-F', 'raw', ...this.#named, raw];
    const { exit } = runTool('qemu-img', ['compare', '-q', ...files], '');
    rmSync(raw);
    return exit === 0;
  }

  takeSnapshot(name: string): void {
    // This verb takes no format.
    qemuImg('snapshot', '-c', name, ...(this.#isEncrypted ? this.#named : [this.path]));
  }

  /** The whole disk, or a snapshot of it, by QEMU's word. */
  content(snapshot?: string): Uint8Array {
    const raw = `${this.path}.raw`;
    const from = snapshot === undefined ? [] : ['-l', `snapshot.name=${snapshot}`];
    qemuImg('convert', '-q', ...from, '-O', 'raw', ...this.#named, raw);
    const bytes = readFileSync(raw);
    rmSync(raw);
    return bytes;
  }

  /** The data file that is the disk by itself; undefined where there is none. QEMU makes it as long as whole clusters. */
  dataByItself(): Uint8Array | undefined {
    const { dataFile, encryption } = this.#choice;
    if (dataFile !== 'raw' || encryption !== 'none') return undefined;
    return readFileSync(this.#dataFile.path).subarray(0, sizeOf(this.#choice));
  }

  openOurs({ writable }: { readonly writable: boolean }): Image {
    const dataFile = this.#choice.dataFile === 'none' ? undefined : this.#dataFile;
    const use = { writable, backing: this.backing, dataFile };
    if (this.#isEncrypted) return openUnlocked(this.path, use);
    return Image.open({ path: this.path, ...use, locks: 'qemu', caches: undefined });
  }

  /** How a verb of qemu-img is told the image. */
  get #named(): readonly string[] {
    if (this.#isEncrypted) return [...secret, '--image-opts', qemuOptions(this.path)];
    return ['-f', 'qcow2', this.path];
  }
}

function encryptionOf(method: MatrixCase['encryption']): CreateSpec['encryption'] {
  switch (method) {
    case 'none':
      return undefined;
    case 'luks':
      return { format: 'luks', ...quickLuks(usualLuks) };
    case 'aes':
      return { format: 'aes', volumeKey: oldAesKeyOf(new TextEncoder().encode(passphrase)) };
  }
}
