import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { join } from 'node:path';
import { describe, test } from 'node:test';

import { failToStart, startService } from './support/service-process.ts';
import { tempFolder } from './support/temp-folder.ts';

const watchdog = { timeout: 120_000 };

describe('the process', () => {
  test('says what is wrong with its settings and exits 1', watchdog, async () => {
    const { code, stderr } = await failToStart({ QCOWD_PROT: '1', QCOWD_PORT: 'x' });
    assert.equal(code, 1);
    assert.match(stderr, /QCOWD_PROT is no setting/);
    assert.match(stderr, /QCOWD_PORT: a whole number/);
    assert.doesNotMatch(stderr, /\n {4}at /);
  });

  test('says that its port is taken and exits 1', watchdog, async () => {
    using folder = tempFolder();
    await using service = await startService({ QCOWD_DATA_DIR: join(folder.path, 'one') });
    const { port } = new URL(service.url);
    const { code, stderr } = await failToStart({ QCOWD_DATA_DIR: join(folder.path, 'two'), QCOWD_PORT: port });
    assert.equal(code, 1);
    assert.match(stderr, new RegExp(`127\\.0\\.0\\.1:${port} is in use`));
    assert.doesNotMatch(stderr, /\n {4}at /);
  });

  test('says that another process owns its data directory and exits 1', watchdog, async () => {
    using folder = tempFolder();
    await using service = await startService({ QCOWD_DATA_DIR: folder.path });
    const { code, stderr } = await failToStart({ QCOWD_DATA_DIR: folder.path, QCOWD_PORT: '0' });
    assert.equal(code, 1);
    assert.match(stderr, /^qcowd: .* belongs to another process of qcowd\. Stop that one, or set QCOWD_DATA_DIR .*\n$/);
    assert.equal((await fetch(`${service.url}/readyz`)).status, 200);
  });

  test('starts at once where another one was killed', watchdog, async () => {
    using folder = tempFolder();
    const killed = await startService({ QCOWD_DATA_DIR: folder.path });
    const exit = once(killed.child, 'exit');
    killed.child.kill('SIGKILL');
    await exit;
    await using service = await startService({ QCOWD_DATA_DIR: folder.path });
    assert.equal((await fetch(`${service.url}/readyz`)).status, 200);
  });

  test('says where it listens, also when the log is silent', watchdog, async () => {
    using folder = tempFolder();
    await using service = await startService({ QCOWD_DATA_DIR: folder.path, QCOWD_LOG_LEVEL: 'silent' });
    assert.equal((await fetch(`${service.url}/readyz`)).status, 200);
  });

  test('ends in order at a signal, also while a client keeps its connection', watchdog, async () => {
    using folder = tempFolder();
    await using service = await startService({ QCOWD_DATA_DIR: folder.path });
    const socket = connect(Number(new URL(service.url).port), '127.0.0.1');
    const answered = new Promise((resolve) => socket.once('data', resolve));
    socket.on('error', () => undefined);
    socket.write('GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n');
    await answered;
    const started = performance.now();
    assert.equal(await service.end('SIGTERM'), 0);
    assert.ok(performance.now() - started < 30_000);
  });
});
