import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { request } from 'node:https';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { Entrance } from '../src/entrance.ts';
import { failToStart, startService } from './support/service-process.ts';
import { tempFolder } from './support/temp-folder.ts';

const watchdog = { timeout: 120_000 };
const certFile = fileURLToPath(new URL('./support/localhost-cert.pem', import.meta.url));
const keyFile = fileURLToPath(new URL('./support/localhost-key.pem', import.meta.url));

describe('the entrance', () => {
  test('makes an admin token once for an address that others reach', async () => {
    using folder = tempFolder();
    const options = {
      tokensFile: undefined,
      tls: undefined,
      isLoopback: false,
      dataDirectory: folder.path,
      entropy: randomBytes,
    };
    const { tokens, adminTokenPath } = await Entrance.open(options);
    assert.equal(adminTokenPath, join(folder.path, 'admin-token'));
    assert.equal(statSync(adminTokenPath).mode & 0o777, 0o600);
    const token = readFileSync(adminTokenPath, 'utf8').trim();
    assert.match(token, /^qcowd_[A-Za-z0-9_-]{43}$/);
    assert.equal(tokens?.find(token)?.scope, 'admin');
    await Entrance.open(options);
    assert.equal(readFileSync(adminTokenPath, 'utf8').trim(), token);
    assert.equal((await Entrance.open({ ...options, isLoopback: true })).tokens, undefined);
  });

  test('asks others for the token that it made', watchdog, async () => {
    using folder = tempFolder();
    await using service = await startService({ QCOWD_DATA_DIR: folder.path, QCOWD_HOST: '0.0.0.0' });
    const { port } = new URL(service.url);
    const place = `http://127.0.0.1:${port} and on all other addresses of this machine (0.0.0.0:${port})`;
    assert.equal(service.announcement, `qcowd: listening on ${place}, data in ${folder.path}`);
    const url = `${service.url}/v1`;
    assert.equal((await fetch(url)).status, 401);
    const token = readFileSync(join(folder.path, 'admin-token'), 'utf8').trim();
    assert.equal((await fetch(url, { headers: { authorization: `Bearer ${token}` } })).status, 200);
  });

  test('speaks TLS with a certificate', watchdog, async () => {
    using folder = tempFolder();
    const tls = { QCOWD_TLS_CERT_FILE: certFile, QCOWD_TLS_KEY_FILE: keyFile };
    await using service = await startService({ QCOWD_DATA_DIR: folder.path, ...tls });
    assert.match(service.url, /^https:/);
    assert.equal(await statusOf(`${service.url}/healthz`), 200);
  });

  test('says which file it cannot use, and exits 1', watchdog, async () => {
    using folder = tempFolder();
    const noList = join(folder.path, 'list');
    writeFileSync(noList, 'ci:write:secret');
    const settings = { QCOWD_DATA_DIR: folder.path, QCOWD_PORT: '0' };
    const listed = await failToStart({ ...settings, QCOWD_TOKENS_FILE: noList });
    assert.deepEqual([listed.code, listed.stderr.includes('secret')], [1, false]);
    assert.match(listed.stderr, /^qcowd: QCOWD_TOKENS_FILE: .* line 1 is not name:scope:sha256 .*\n$/);
    const swapped = { QCOWD_TLS_CERT_FILE: keyFile, QCOWD_TLS_KEY_FILE: certFile };
    const unusable = await failToStart({ ...settings, ...swapped });
    assert.equal(unusable.code, 1);
    assert.match(unusable.stderr, /^qcowd: QCOWD_TLS_CERT_FILE and QCOWD_TLS_KEY_FILE: .*\n$/);
  });
});

async function statusOf(url: string): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    const asked = request(url, { ca: readFileSync(certFile), agent: false }, (answer) => {
      answer.resume();
      answer.once('end', () => resolve(answer.statusCode));
    });
    asked.once('error', reject);
    asked.end();
  });
}
