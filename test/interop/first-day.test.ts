import assert from 'node:assert/strict';
import { copyFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';

import { checkImage, compareImages, infoJson, qemuImg, qemuIo } from '../support/qemu-img.ts';
import type { FormattedFile } from '../support/qemu-img.ts';
import { firstDayLines, runShell, startService } from '../support/service-process.ts';
import { tempFolder } from '../support/temp-folder.ts';
import { pattern } from '../support/test-service.ts';

const io = { format: 'qcow2', readOnly: false, syncs: false, discard: 'unmap' } as const;

describe("the first day with an image of somebody else's tool", () => {
  test('leaves only files that QEMU finds sound and equal', { timeout: 180_000 }, async () => {
    using folder = tempFolder();
    const at = (name: string): string => join(folder.path, name);
    writeFileSync(at('part.bin'), pattern(65_536, 1));
    qemuImg('create', '-q', '-f', 'qcow2', at('plain.qcow2'), '256M');
    qemuIo(at('plain.qcow2'), ['write -P 7 1M 3M', 'write -P 9 100M 70k', 'write -z 2M 128k'], io);
    qemuImg('convert', '-c', '-f', 'qcow2', '-O', 'qcow2', at('plain.qcow2'), at('cloud.qcow2'));
    qemuImg('snapshot', '-c', 'before', at('cloud.qcow2'));
    copyFileSync(at('cloud.qcow2'), at('kept.qcow2'));
    {
      await using service = await startService({ QCOWD_DATA_DIR: at('data') });
      const day = await runShell(
        [
          ...firstDayLines.slice(0, -1),
          // What vm1 holds at the end, before its last line deletes it.
          'curl -sf -o vm1.qcow2 $B/v1/images/vm1/file',
          'curl -sf -o vm1-s1.qcow2 "$B/v1/images/vm1/file?snapshot=s1"',
          'curl -sf -o base.raw "$B/v1/images/base/file?format=raw"',
          ...firstDayLines.slice(-1),
          `curl -sf $B/v1/images -H 'content-type: application/json' -d '{"name":"overlay","backing":{"image":"base"}}'`,
          `curl -sf -T part.bin -H 'Content-Range: bytes 70000-135535/*' $B/v1/images/overlay/data`,
          'curl -sf -o overlay.qcow2 $B/v1/images/overlay/file',
        ],
        { folder: folder.path, variables: { B: service.url } },
      );
      assert.equal(day.code, 0, `${day.stderr}\n${day.stdout}`);
      assert.equal(await service.end('SIGTERM'), 0);
    }
    const images = readdirSync(at('data/images')).map((name) => join('data/images', name));
    assert.equal(images.length, 2);
    for (const name of [...images, 'base.qcow2', 'vm1.qcow2', 'vm1-s1.qcow2', 'overlay.qcow2']) {
      const { exit, json, stderr } = checkImage(at(name), 'none');
      assert.equal(exit, 0, `${name}: ${stderr}`);
      assert.deepEqual([json?.['check-errors'], json?.leaks ?? 0, json?.corruptions ?? 0], [0, 0, 0], name);
    }
    const qcow2 = (name: string): FormattedFile => ({ path: at(name), format: 'qcow2' });
    assert.ok(compareImages(qcow2('base.qcow2'), qcow2('kept.qcow2')));
    assert.ok(compareImages({ path: at('base.raw'), format: 'raw' }, qcow2('kept.qcow2')));
    const [base = '', overlay = ''] = images.toSorted();
    assert.ok(compareImages(qcow2(base), qcow2('kept.qcow2')));
    assert.ok(compareImages(qcow2(overlay), qcow2('overlay.qcow2')));
    assert.equal(infoJson(at('vm1.qcow2'))['virtual-size'], 21_474_836_480);
    assert.equal(infoJson(at('vm1-s1.qcow2'))['virtual-size'], 10_737_418_240);
  });
});
