import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { describe, test } from 'node:test';

import { checkImage, qemuImg, qemuIo, runTool } from '../support/qemu-img.ts';
import { codeOf, startTestService } from '../support/test-service.ts';
import type { ImageBody } from '../support/test-service.ts';

const MiB = 1_048_576;
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
});
