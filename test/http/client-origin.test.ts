import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { judgeOrigin } from '../../src/http/client-origin.ts';

describe('a request without a token', () => {
  test('may come under a loopback name or one of the settings', () => {
    for (const host of ['127.0.0.1:8080', 'localhost', 'LOCALHOST:1', '[::1]:8080', '127.9.9.9', 'disk.example:8080']) {
      assert.equal(judgeOrigin({}, { authority: host, hosts: ['disk.example'] }), undefined, host);
    }
  });

  test('is refused under any other name', () => {
    for (const host of [
      'evil.example',
      '127.0.0.1.evil.example',
      '10.0.0.1',
      'localhost.evil.example:80',
      '[::2]',
      '',
    ]) {
      assert.equal(judgeOrigin({}, { authority: host, hosts: [] })?.code, 'forbidden', host);
    }
  });

  test('is refused from a foreign page', () => {
    const host = '127.0.0.1:8080';
    for (const origin of ['http://evil.example', 'null', 'http://127.0.0.1:9999', 'file://', 'http://localhost:8080']) {
      assert.equal(judgeOrigin({ origin }, { authority: host, hosts: [] })?.code, 'forbidden', origin);
    }
    assert.equal(judgeOrigin({ 'sec-fetch-site': 'cross-site' }, { authority: host, hosts: [] })?.code, 'forbidden');
  });

  test('may come from a page of the service itself', () => {
    const host = '127.0.0.1:8080';
    assert.equal(
      judgeOrigin(
        { 'origin': 'http://127.0.0.1:8080', 'sec-fetch-site': 'same-origin' },
        { authority: host, hosts: [] },
      ),
      undefined,
    );
    assert.equal(
      judgeOrigin({ origin: 'https://disk.example' }, { authority: host, hosts: ['disk.example'] }),
      undefined,
    );
  });
});
