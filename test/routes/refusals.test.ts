// What cannot be done is refused by a problem that says so, and not a byte of the image's files is another one then.

import assert from 'node:assert/strict';
import { readFileSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import type { Test } from 'supertest';

import { passphrase, passphraseHeader } from '../support/luks-image.ts';
import { addSnapshots, changeFile } from '../support/provocations.ts';
import { codeOf, pattern, startTestService } from '../support/test-service.ts';
import type { TestService } from '../support/test-service.ts';

const MiB = 1_048_576;
const GiB = 1024 * MiB;
const wrongHeader = { 'Image-Passphrase': `:${Buffer.from('wrong').toString('base64')}:` };
const encryption = { format: 'luks', passphrase, iterTimeMs: 1 };
let service: TestService;

before(async () => {
  service = await startTestService();
  await service.create({ name: 'base', virtualSize: MiB });
});
after(async () => service[Symbol.asyncDispose]());

interface Refusal {
  readonly what: string;
  /** The image, beside its name and size. */
  readonly made: object;
  readonly prepare?: (at: string, id: string) => Promise<unknown>;
  readonly asked: (at: string) => Test;
  readonly status: number;
  readonly code: string;
}

const snapshot = (at: string): Test => service.post(`${at}/snapshots`, { name: 's' });
const put = (at: string, query = ''): Test => service.put(`${at}/data${query}`).set('Content-Range', 'bytes 0-65535/*');
const packed = (at: string): Test => put(at, '?compress=true');
const text = Buffer.alloc(65_536, 'words that shrink, ');

const refusals: readonly Refusal[] = [
  {
    what: 'a write under a wrong passphrase',
    made: { encryption },
    asked: (at) => put(at).set(wrongHeader).send(text),
    ...{ status: 422, code: 'wrong-passphrase' },
  },
  {
    what: 'a write without a passphrase',
    made: { encryption },
    asked: (at) => put(at).send(text),
    ...{ status: 422, code: 'passphrase-required' },
  },
  {
    what: 'another passphrase, by a wrong one',
    made: { encryption },
    asked: (at) =>
      service.post(`${at}/amend`, {
        encryption: { state: 'active', passphrase: 'wrong', newPassphrase: 'next', iterTimeMs: 1 },
      }),
    ...{ status: 422, code: 'wrong-passphrase' },
  },
  {
    what: 'a packed write into an encrypted image (CMP-10)',
    made: { encryption },
    asked: (at) => packed(at).set(passphraseHeader).send(text),
    ...{ status: 422, code: 'unsupported-option' },
  },
  {
    what: 'a packed write into a data file (CMP-06)',
    made: { dataFile: {} },
    asked: (at) => packed(at).send(text),
    ...{ status: 422, code: 'unsupported-option' },
  },
  {
    what: 'a snapshot of an image with a data file (DAT-01)',
    made: { dataFile: {} },
    asked: snapshot,
    ...{ status: 422, code: 'unsupported-option' },
  },
  {
    what: 'a base below a raw data file (DAT-04)',
    made: { dataFile: { raw: true } },
    asked: (at) => service.post(`${at}/rebase`, { backing: { image: 'base' } }),
    ...{ status: 422, code: 'unsupported-option' },
  },
  {
    what: 'version 2 of an image with a data file (AMD-02)',
    made: { dataFile: {} },
    asked: (at) => service.post(`${at}/amend`, { compat: '0.10' }),
    ...{ status: 422, code: 'unsupported-option' },
  },
  {
    what: 'a snapshot where a refcount cannot be raised (REF-05)',
    made: { refcountBits: 2, clusterSize: 4096 },
    prepare: async (at) => {
      for (const name of ['a', 'b']) await service.post(`${at}/snapshots`, { name }).expect(201);
      // What comes first in its table can be counted once more.
      await service.put(`${at}/data`).set('Content-Range', 'bytes 0-9999/*').send(pattern(10_000, 99)).expect(204);
    },
    asked: snapshot,
    ...{ status: 409, code: 'refcount-overflow' },
  },
  {
    what: 'narrower refcounts than there are references (AMD-03)',
    made: {},
    prepare: async (at) => {
      for (const name of ['a', 'b', 'c']) await service.post(`${at}/snapshots`, { name }).expect(201);
    },
    asked: (at) => service.post(`${at}/amend`, { refcountBits: 1 }),
    ...{ status: 409, code: 'refcount-overflow' },
  },
  {
    what: 'a revert while there are bitmaps (BMP-10)',
    made: {},
    prepare: async (at) => {
      await snapshot(at).expect(201);
      await service.post(`${at}/bitmaps`, { name: 'b', enabled: false }).expect(201);
    },
    asked: (at) => service.post(`${at}/snapshots/s/revert`),
    ...{ status: 409, code: 'bitmaps-prevent-revert' },
  },
  {
    what: 'a resize of version 2 with snapshots (OPS-20)',
    made: { compat: '0.10' },
    prepare: (at) => snapshot(at).expect(201),
    asked: (at) => service.post(`${at}/resize`, { virtualSize: 2 * MiB }),
    ...{ status: 409, code: 'snapshots-prevent-resize' },
  },
  {
    what: 'a disk that no L1 table maps (LIM-01)',
    made: { clusterSize: 512 },
    asked: (at) => service.post(`${at}/resize`, { virtualSize: 128 * GiB + 512 }),
    ...{ status: 422, code: 'invalid-geometry' },
  },
  {
    what: 'one snapshot more than the table holds (SNT-05)',
    made: { virtualSize: 0 },
    prepare: (_at, id) => changeFile(service, id, addSnapshots),
    asked: snapshot,
    ...{ status: 409, code: 'too-many-snapshots' },
  },
];

describe('what is refused', () => {
  for (const [index, { what, made, prepare, asked, status, code }] of refusals.entries()) {
    test(`changes nothing: ${what}`, async () => {
      const name = `vm${String(index)}`;
      const at = `/v1/images/${name}`;
      const { id } = await service.create({ name, virtualSize: MiB, ...made });
      const isLocked = 'encryption' in made;
      const isEmpty = 'virtualSize' in made;
      if (!isEmpty) {
        await put(at)
          .set(isLocked ? passphraseHeader : {})
          .send(pattern(65_536, index + 1))
          .expect(204);
      }
      await prepare?.(at, id);
      const files = ['qcow2', ...('dataFile' in made ? ['data'] : [])].map((end) =>
        join(service.folder, 'images', `${id}.${end}`),
      );
      const contents = async (): Promise<readonly Buffer[]> => {
        // A check comes when everything is written, refcounts that have fallen, too.
        const report = (await service.post(`${at}/check`).expect(200)).body as { readonly clean: boolean };
        // The many snapshots were entered by hand, and nobody has counted their table.
        assert.equal(report.clean, !isEmpty);
        return files.map((path) => readFileSync(path));
      };
      const before_ = await contents();
      const refused = await asked(at);
      assert.deepEqual([refused.status, codeOf(refused)], [status, code]);
      for (const [place, content] of (await contents()).entries()) {
        assert.ok(before_[place]?.equals(content), `${files[place] ?? ''} has not changed`);
      }
    });
  }

  test('changes nothing: an image whose data file is gone, which is as before when it is back', async () => {
    const { id } = await service.create({ name: 'apart', virtualSize: MiB, dataFile: {} });
    await service.write('apart', 0, pattern(1000, 1));
    await service.post('/v1/images/apart/detach').expect(200);
    const [path, data] = ['qcow2', 'data'].map((end) => join(service.folder, 'images', `${id}.${end}`));
    assert.ok(path !== undefined && data !== undefined);
    const content = readFileSync(path);
    renameSync(data, `${data}.away`);
    const refused = await service.post('/v1/images/apart/attach');
    assert.deepEqual([refused.status, codeOf(refused)], [409, 'data-file-missing']);
    assert.ok(readFileSync(path).equals(content));
    renameSync(`${data}.away`, data);
    await service.post('/v1/images/apart/attach').expect(200);
    const read = await service.bytes('/v1/images/apart/data').set('Range', 'bytes=0-999').expect(206);
    assert.ok(pattern(1000, 1).equals(read.body as Buffer));
  });
});
