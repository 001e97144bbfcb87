import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { originJudge } from '../../src/http/client-origin.ts';

describe('a request without a token', () => {
  test('may come under a loopback name or one of the settings', () => {
    for (const host of ['127.0.0.1:8080', 'localhost', 'LOCALHOST:1', '[::1]:8080', '127.9.9.9', 'disk.example:8080']) {
      assert.equal(originJudge(['disk.example'])({}, host), undefined, host);
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
      assert.equal(originJudge([])({}, host)?.code, 'forbidden', host);
    }
  });

  test('is refused from a foreign page', () => {
    const host = '127.0.0.1:8080';
    for (const origin of ['http://evil.example', 'null', 'http://127.0.0.1:9999', 'file://', 'http://localhost:8080']) {
      assert.equal(originJudge([])({ origin }, host)?.code, 'forbidden', origin);
    }
    assert.equal(originJudge([])({ 'sec-fetch-site': 'cross-site' }, host)?.code, 'forbidden');
  });

  test('may come from a page of the service itself', () => {
    const host = '127.0.0.1:8080';
    assert.equal(
      originJudge([])({ 'origin': 'http://127.0.0.1:8080', 'sec-fetch-site': 'same-origin' }, host),
      undefined,
    );
    assert.equal(originJudge(['disk.example'])({ origin: 'https://disk.example' }, host), undefined);
  });

  test('is judged by what it brings, whoever came before it under the same name', () => {
    const judge = originJudge([]);
    const host = '127.0.0.1:8080';
    for (let round = 0; round < 2; round += 1) {
      assert.equal(judge({}, host), undefined);
      assert.equal(judge({ origin: 'http://evil.example' }, host)?.code, 'forbidden');
      assert.equal(judge({ 'sec-fetch-site': 'cross-site' }, host)?.code, 'forbidden');
      assert.equal(judge({}, 'evil.example')?.code, 'forbidden');
      assert.equal(judge({}, undefined), undefined);
    }
  });
});
