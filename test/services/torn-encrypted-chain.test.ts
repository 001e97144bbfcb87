// A commit in an encrypted chain whose process is killed: after the restart nobody has the passphrases.

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { describe, test } from 'node:test';

import { startBrakedService } from '../support/braked-service.ts';
import type { Brake, BrakedService } from '../support/braked-service.ts';
import { tempFolder } from '../support/temp-folder.ts';
import { pattern } from '../support/test-service.ts';
import type { ImageBody } from '../support/test-service.ts';
import { copyFolder } from '../support/torn-jobs.ts';

const KiB = 1024;
const virtualSize = 2048 * KiB;

/** Their names are their passphrases. */
const passphrases = { top: ['top', 'base'], base: ['base'] } as const;

describe('a commit between encrypted images whose process is killed', { timeout: 300_000 }, () => {
  test('fails and says what to do; both images go on, and the next commit does it all', async () => {
    using folder = tempFolder();
    const [before, after] = [join(folder.path, 'before'), join(folder.path, 'after')];
    const { jobId, content, below } = await tearCommit({ before, after });
    await using service = await startBrakedService(after);
    const { catalog, failures } = service.house;
    const job = (await service.get(`/v1/jobs/${jobId}?wait=60`).expect(200)).body as {
      readonly state: string;
      readonly problem?: { readonly code: string; readonly detail: string };
    };
    assert.deepEqual([job.state, job.problem?.code], ['failed', 'passphrase-required']);
    assert.match(job.problem?.detail ?? '', /began again after a restart.*Unlock it with POST/);
    assert.equal((await catalog.findImage('base'))?.structural, 'commit');

    // The mark keeps nobody out, and a restart does not take it away.
    assert.ok(content.equals(await disk(service, 'top')));
    const shown = await disk(service, 'base');
    assert.ok(!shown.equals(below) && !shown.equals(content), 'a part was copied down');
    assert.ok(shown.every((byte, at) => byte === below[at] || byte === content[at]));
    await write(service, 'top', { offset: 5000, bytes: pattern(1000, 9) });
    pattern(1000, 9).copy(content, 5000);
    for (const image of ['top', 'base']) {
      const report = (await service.post(`/v1/images/${image}/check`).expect(200)).body as { corruptions: number };
      assert.equal(report.corruptions, 0, image);
    }
    assert.equal((await catalog.findImage('top'))?.structural, undefined);

    const refused = await service.post('/v1/images/top/commit', {});
    assert.equal((refused.body as { readonly code: string }).code, 'passphrase-required');
    await service.post('/v1/images/top/commit', {}).set(bring(passphrases.top)).expect(200);
    for (const image of ['top', 'base'] as const) {
      assert.ok(content.equals(await disk(service, image)), image);
      assert.equal((await catalog.findImage(image))?.structural, undefined, image);
      const report = (await service.post(`/v1/images/${image}/check`).expect(200)).body as { clean: boolean };
      assert.ok(report.clean, image);
    }
    assert.deepEqual(failures, []);
  });
});

/** A data directory as a kill leaves it in the middle of a commit, and what its disks showed before. */
async function tearCommit(paths: {
  readonly before: string;
  readonly after: string;
}): Promise<{ readonly jobId: string; readonly content: Buffer; readonly below: Buffer }> {
  const brake: Brake = { held: false };
  await using service = await startBrakedService(paths.before, brake);
  for (const name of ['base', 'top'] as const) {
    const encryption = { format: 'luks', passphrase: name, iterTimeMs: 1 };
    const backing = name === 'top' ? { image: 'base' } : undefined;
    await service.post('/v1/images', { name, virtualSize, encryption, backing }).expect(201);
    for (let at = 0; at < virtualSize; at += 256 * KiB) {
      const bytes = pattern(200 * KiB, at + name.length);
      await write(service, name, { offset: at + name.length * KiB, bytes });
    }
  }
  const content = await disk(service, 'top');
  const below = await disk(service, 'base');
  brake.heldAt = 1;
  const asked = service
    .post('/v1/images/top/commit', {})
    .set({ ...bring(passphrases.top), Prefer: 'wait=60' })
    .then((answer) => answer);
  while (brake.reached !== true) await pause(2);
  service.house.services.jobs.letGo();
  const answer = await asked;
  assert.equal(answer.status, 202, answer.text);
  copyFolder(paths.before, paths.after);
  brake.heldAt = undefined;
  return { jobId: (answer.body as ImageBody).id, content, below };
}

function bring(words: readonly string[]): { readonly 'Image-Passphrase': string } {
  return { 'Image-Passphrase': words.map((one) => `:${Buffer.from(one).toString('base64')}:`).join(', ') };
}

async function disk(service: BrakedService, image: keyof typeof passphrases): Promise<Buffer> {
  const asked = service.bytes(`/v1/images/${image}/data`).set(bring(passphrases[image]));
  return (await asked.expect(200)).body as Buffer;
}

async function write(
  service: BrakedService,
  image: keyof typeof passphrases,
  { offset, bytes }: { readonly offset: number; readonly bytes: Buffer },
): Promise<void> {
  const range = `bytes ${String(offset)}-${String(offset + bytes.length - 1)}/*`;
  const asked = service.put(`/v1/images/${image}/data`).set('Content-Range', range);
  await asked.set(bring(passphrases[image])).send(bytes).expect(204);
}
