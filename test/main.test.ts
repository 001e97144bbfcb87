import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';

import { present } from '../src/base/assert.ts';
import { failToStart, startService } from './support/service-process.ts';
import { tempFolder } from './support/temp-folder.ts';

const watchdog = { timeout: 120_000 };

function post(url: string, body: object): Promise<Response> {
  const headers = { 'content-type': 'application/json', 'prefer': 'respond-async' };
  return fetch(url, { method: 'POST', headers, body: JSON.stringify(body) });
}

/** Opens a pipe for writing as soon as the process has begun to read it. */
async function openRead(path: string, reader: ChildProcess): Promise<FileHandle> {
  for (;;) {
    assert.equal(reader.exitCode ?? reader.signalCode, null, 'the process reads the pipe before it ends');
    try {
      return await open(path, constants.O_WRONLY | constants.O_NONBLOCK);
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'ENXIO')) throw error;
    }
    await pause(20);
  }
}

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

  test('says that it cannot listen on an address of another machine and exits 1', watchdog, async () => {
    using folder = tempFolder();
    // TEST-NET-1 of RFC 5737 belongs to nobody.
    const { code, stderr } = await failToStart({
      QCOWD_DATA_DIR: folder.path,
      QCOWD_HOST: '192.0.2.1',
      QCOWD_PORT: '0',
    });
    assert.equal(code, 1);
    assert.match(stderr, /^qcowd: 192\.0\.2\.1 is no address of this machine\. Set QCOWD_HOST /m);
    assert.doesNotMatch(stderr, /\n {4}at /);
  });

  test('says that its data directory cannot be made and exits 1', watchdog, async () => {
    // No folder, and one that is there and takes none.
    const paths = ['/dev/null', '/proc/data'];
    const endings = await Promise.all(paths.map((path) => failToStart({ QCOWD_DATA_DIR: path, QCOWD_PORT: '0' })));
    for (const { code, stderr } of endings) {
      assert.equal(code, 1);
      assert.match(stderr, /^qcowd: QCOWD_DATA_DIR: the folder cannot be made or used \(E/m);
      assert.doesNotMatch(stderr, /\n {4}at /);
    }
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

  test('ends at once at a signal while it starts', watchdog, async () => {
    using folder = tempFolder();
    const list = join(folder.path, 'tokens');
    execFileSync('mkfifo', [list]);
    const settings = { QCOWD_DATA_DIR: join(folder.path, 'data'), QCOWD_TOKENS_FILE: list, QCOWD_PORT: '0' };
    const { code, stderr } = await failToStart(settings, async (child) => {
      // It waits for a list of tokens that never comes.
      const writer = await openRead(list, child);
      const over = once(child, 'exit');
      child.kill('SIGTERM');
      // A read that is under way holds the process until its end.
      await Promise.race([over, once(present(child.stderr, 'its words are read'), 'data')]);
      await writer.close();
    });
    assert.equal(code, 0);
    assert.match(stderr, /^qcowd: stopped before it was ready\./);
  });

  test('ends in order at a signal with jobs under way, and the next one says how they ended', watchdog, async () => {
    using folder = tempFolder();
    const settings = { QCOWD_DATA_DIR: folder.path };
    const jobs = new Map<string, string>();
    {
      await using service = await startService(settings);
      for (const [name, path, body] of [
        ['checked', 'check', {}],
        ['kept', 'snapshots', { name: 's1' }],
      ] as const) {
        const image = { name, virtualSize: 128 * 2 ** 30, preallocation: 'metadata' };
        assert.equal((await post(`${service.url}/v1/images`, image)).status, 201);
        const accepted = await post(`${service.url}/v1/images/${name}/${path}`, body);
        assert.equal(accepted.status, 202);
        jobs.set(name, ((await accepted.json()) as { readonly id: string }).id);
      }
      assert.equal(await service.end('SIGTERM'), 0);
    }
    await using service = await startService(settings);
    const states = new Map<string, string>();
    for (const [name, id] of jobs) {
      const job = await fetch(`${service.url}/v1/jobs/${id}?wait=60`);
      states.set(name, ((await job.json()) as { readonly state: string }).state);
    }
    assert.equal(states.get('checked'), 'succeeded');
    const listed = await fetch(`${service.url}/v1/images/kept/snapshots`);
    const { items } = (await listed.json()) as { readonly items: readonly unknown[] };
    assert.equal(states.get('kept'), items.length === 1 ? 'succeeded' : 'failed');
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
    // As npm does, which passes on what its whole group gets.
    service.child.kill('SIGTERM');
    assert.equal(await service.end('SIGTERM'), 0);
    assert.ok(performance.now() - started < 30_000);
  });
});
