import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { ConfigError, loadConfig } from '../src/config.ts';

const machine = { cores: 8 };

describe('the settings', () => {
  test('have defaults', () => {
    assert.deepEqual(loadConfig({}, machine), {
      http: { host: '127.0.0.1', port: 8080, hosts: [], tls: undefined, tokensFile: undefined, isLoopback: true },
      log: { level: 'info' },
      data: { directory: './data', quotaBytes: undefined },
      pool: { engineThreads: 8, codecThreads: 4, hostCopy: 'auto', locks: 'qemu', cacheBytes: 268_435_456 },
      images: {
        idleMs: 10_000,
        runtime: {
          l2CacheBytes: undefined,
          l2CacheEntryBytes: undefined,
          refcountCacheBytes: undefined,
          cacheBytes: undefined,
          cacheCleanSeconds: undefined,
        },
      },
    });
    assert.equal(loadConfig({}, { cores: 1 }).pool.engineThreads, 4);
  });

  test('come from the environment, and an empty value is none', () => {
    const config = loadConfig(
      {
        QCOWD_PORT: '0',
        QCOWD_HOSTS: 'A.example, b.example',
        QCOWD_ENGINE_THREADS: '2',
        QCOWD_CACHE_BYTES: '1048576',
        QCOWD_DATA_DIR: '',
        PATH: '/bin',
      },
      machine,
    );
    assert.equal(config.http.port, 0);
    assert.deepEqual(config.http.hosts, ['a.example', 'b.example']);
    assert.equal(config.pool.engineThreads, 2);
    assert.equal(config.pool.cacheBytes, 1_048_576);
    assert.equal(config.data.directory, './data');
  });

  test('are refused when unknown or unusable, each by name', () => {
    const wrong = { QCOWD_PROT: '1', QCOWD_PORT: '99999', QCOWD_IMAGE_IDLE_MS: '-1', QCOWD_LOG_LEVEL: 'loud' };
    assert.throws(
      () => loadConfig(wrong, machine),
      (error) => error instanceof ConfigError && Object.keys(wrong).every((key) => error.message.includes(key)),
    );
  });

  test('say what they may be, and what they were', () => {
    const levels = 'trace, debug, info, warn, error, fatal, silent';
    for (const [name, value, told] of [
      ['QCOWD_LOG_LEVEL', 'loud', `one of ${levels}, not "loud"`],
      ['QCOWD_QEMU_LOCKS', 'ON', 'one of on, off, not "ON"'],
      ['QCOWD_HOST_COPY', 'yes', 'one of auto, always, never, not "yes"'],
      ['QCOWD_PORT', '99999', 'a whole number from 0 to 65535, not "99999"'],
      ['QCOWD_PORT', 'x"', 'a whole number from 0 to 65535, not "x\\""'],
    ] as const) {
      assert.throws(() => loadConfig({ [name]: value }, machine), { message: `${name}: ${told}.` });
    }
  });

  test('tell an address that only this machine can reach', () => {
    assert.equal(loadConfig({ QCOWD_HOST: '0.0.0.0' }, machine).http.isLoopback, false);
    assert.equal(loadConfig({ QCOWD_HOST: '::1' }, machine).http.isLoopback, true);
  });

  test('take names of hosts with commas between them only', () => {
    for (const hosts of ['a b', 'http://a', 'a/b', 'a;b', '[::2]'])
      assert.throws(() => loadConfig({ QCOWD_HOSTS: hosts }, machine), /QCOWD_HOSTS: names of hosts/, hosts);
    assert.deepEqual(loadConfig({ QCOWD_HOSTS: '::2,A_b.example' }, machine).http.hosts, ['::2', 'a_b.example']);
  });

  test('of caches fit together', () => {
    const { runtime } = loadConfig(
      { QCOWD_L2_CACHE_BYTES: '1048576', QCOWD_L2_CACHE_ENTRY_BYTES: '65536', QCOWD_CACHE_CLEAN_SECONDS: '600' },
      machine,
    ).images;
    assert.deepEqual(runtime, {
      l2CacheBytes: 1_048_576,
      l2CacheEntryBytes: 65_536,
      refcountCacheBytes: undefined,
      cacheBytes: undefined,
      cacheCleanSeconds: 600,
    });
    const tooFew = { QCOWD_L2_CACHE_BYTES: '1048575', QCOWD_L2_CACHE_ENTRY_BYTES: '65536' };
    assert.throws(() => loadConfig(tooFew, machine), /QCOWD_L2_CACHE_BYTES: at least 1048576/);
    for (const length of ['5', '5000', '4194304', '4k']) {
      const message = /^QCOWD_L2_CACHE_ENTRY_BYTES: a power of two from 512 to 2097152, not "[^"]+"\.$/;
      assert.throws(() => loadConfig({ QCOWD_L2_CACHE_ENTRY_BYTES: length }, machine), { message });
    }
    const total = { QCOWD_IMAGE_CACHE_BYTES: '1048576' };
    assert.equal(
      loadConfig({ ...total, QCOWD_L2_CACHE_BYTES: '1048576' }, machine).images.runtime.cacheBytes,
      1_048_576,
    );
    for (const [change, what] of [
      [{ QCOWD_L2_CACHE_BYTES: '1048577' }, /QCOWD_L2_CACHE_BYTES: at most 1048576/],
      [{ QCOWD_REFCOUNT_CACHE_BYTES: '1048577' }, /QCOWD_REFCOUNT_CACHE_BYTES: at most 1048576/],
      [{ QCOWD_L2_CACHE_BYTES: '65536', QCOWD_REFCOUNT_CACHE_BYTES: '65536' }, /at most one of its parts/],
      [{ QCOWD_L2_CACHE_ENTRY_BYTES: '65536' }, /QCOWD_IMAGE_CACHE_BYTES: at least 1114112/],
    ] as const) {
      assert.throws(() => loadConfig({ ...total, ...change }, machine), what);
    }
  });

  test('take a certificate and its key together only', () => {
    const both = { QCOWD_TLS_CERT_FILE: 'a.pem', QCOWD_TLS_KEY_FILE: 'b.pem' };
    assert.deepEqual(loadConfig(both, machine).http.tls, { certFile: 'a.pem', keyFile: 'b.pem' });
    assert.throws(() => loadConfig({ QCOWD_TLS_CERT_FILE: 'a.pem' }, machine), /go together/);
  });

  test('do not trip over what Kubernetes injects', () => {
    const injected = {
      QCOWD_PORT: 'tcp://10.0.0.1:80',
      QCOWD_PORT_80_TCP: 'tcp://10.0.0.1:80',
      QCOWD_SERVICE_HOST: '10.0.0.1',
      QCOWD_SERVICE_PORT: '80',
    };
    assert.equal(loadConfig(injected, machine).http.port, 8080);
  });
});
