import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';

import { firstDayLines, runShell, startService } from '../support/service-process.ts';
import { tempFolder } from '../support/temp-folder.ts';
import { pattern } from '../support/test-service.ts';

/** Makes `cloud.qcow2`, a file of the service itself, under a name that is gone again before the first line. */
const cloudLines = [
  `curl -sf $B/v1/images -H 'content-type: application/json' -d '{"name":"seed","virtualSize":67108864}'`,
  `curl -sf -T cloud.bin -H 'Content-Range: bytes 1048576-3145727/*' $B/v1/images/seed/data`,
  `curl -sf -o cloud.qcow2 $B/v1/images/seed/file`,
  `curl -sf -X DELETE $B/v1/images/seed`,
];

describe('the first day', () => {
  test('goes as it is written', { timeout: 120_000 }, async () => {
    using folder = tempFolder();
    writeFileSync(join(folder.path, 'part.bin'), pattern(65_536, 1));
    writeFileSync(join(folder.path, 'cloud.bin'), pattern(2_097_152, 2));
    await using service = await startService({ QCOWD_DATA_DIR: join(folder.path, 'data') });
    const options = { folder: folder.path, variables: { B: service.url } };
    const before = await runShell(cloudLines, options);
    assert.equal(before.code, 0, before.stderr);
    const day = await runShell(firstDayLines, options);
    assert.equal(day.code, 0, `${day.stderr}\n${day.stdout}`);
    assert.ok(day.stdout.includes('"clean":true'));
    const [sent, fetched] = ['cloud.qcow2', 'base.qcow2'].map((name) => readFileSync(join(folder.path, name)));
    assert.ok(sent !== undefined && fetched !== undefined && sent.equals(fetched));

    // A download that is complete is not begun again, and one that was cut off is gone on with.
    writeFileSync(join(folder.path, 'base.qcow2'), fetched.subarray(0, 100_000));
    const resumed = await runShell([`curl --fail-with-body -sC - -o base.qcow2 $B/v1/images/base/file`], options);
    assert.equal(resumed.code, 0, resumed.stderr);
    assert.ok(readFileSync(join(folder.path, 'base.qcow2')).equals(sent));
    assert.equal(await service.end('SIGTERM'), 0);
  });

  test('is remembered on the second', { timeout: 120_000 }, async () => {
    using folder = tempFolder();
    writeFileSync(join(folder.path, 'part.bin'), pattern(65_536, 3));
    const settings = { QCOWD_DATA_DIR: join(folder.path, 'data') };
    {
      await using service = await startService(settings);
      const lines = [
        `curl -sf $B/v1/images -H 'content-type: application/json' -d '{"name":"vm1","virtualSize":1048576}'`,
        `curl -sf -T part.bin -H 'Content-Range: bytes 0-65535/*' "$B/v1/images/vm1/data?flush=false"`,
      ];
      const first = await runShell(lines, { folder: folder.path, variables: { B: service.url } });
      assert.equal(first.code, 0, first.stderr);
      assert.equal(await service.end('SIGINT'), 0);
    }
    await using service = await startService(settings);
    const lines = [`curl -sf -r 0-65535 $B/v1/images/vm1/data | cmp - part.bin`];
    const second = await runShell(lines, { folder: folder.path, variables: { B: service.url } });
    assert.equal(second.code, 0, second.stderr);
  });
});
