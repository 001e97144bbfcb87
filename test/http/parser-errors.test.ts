import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import type { App } from '../../src/http/schema.ts';
import { createServer } from '../../src/http/server.ts';
import { bareServer } from '../support/bare-server.ts';
import { exchange } from '../support/raw-http.ts';

const problem = 'application/problem+json';
let app: App;

before(async () => {
  app = await createServer(bareServer());
  app.get('/things/:thing', async () => ({ ok: true }));
  await app.listen({ host: '127.0.0.1', port: 0 });
});

after(async () => {
  app.server.closeAllConnections();
  await app.close();
});

describe('what the parser refuses', () => {
  const expectProblem = async (text: string, status: number, code: string): Promise<void> => {
    const answer = await exchange(app.server, text, { waitMs: 5_000 });
    assert.equal(answer.status, status);
    assert.equal(answer.headers.get('content-type'), problem);
    assert.equal(answer.headers.get('request-id'), 'made');
    const body = JSON.parse(answer.body) as { code: string; status: number };
    assert.deepEqual([body.code, body.status], [code, status]);
  };

  test('is a problem too', async () => {
    await expectProblem('NONSENSE\r\n\r\n', 400, 'invalid-request');
    await expectProblem(
      `GET / HTTP/1.1\r\nHost: localhost\r\nX: ${'x'.repeat(40_000)}\r\n\r\n`,
      431,
      'headers-too-large',
    );
    await expectProblem(`GET /${'x'.repeat(70_000)}`, 414, 'uri-too-long');
    // The second is a name that the router does not even look at.
    for (const path of [`/${'x'.repeat(20_000)}`, `/things/${'x'.repeat(12_000)}`]) {
      const text = `GET ${path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`;
      await expectProblem(text, 414, 'uri-too-long');
    }
    await expectProblem('GET /things/1 HTTP/1.1\r\nConnection: close\r\n\r\n', 400, 'invalid-request');
    for (const version of ['1.1', '1.0']) {
      const twice = `GET /things/1 HTTP/${version}\r\nHost: localhost\r\nX: y\r\nhoST: localhost\r\n`;
      await expectProblem(`${twice}Connection: close\r\n\r\n`, 400, 'invalid-request');
    }
    // A target that names an authority itself counts more than Host (RFC 9112 §3.2.2).
    for (const target of ['http://evil.example/things/1', 'http://a@evil.example:80/things/1']) {
      const text = `GET ${target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`;
      await expectProblem(text, 403, 'forbidden');
    }
    for (const line of ['GET /things/1 HTTP/2.0', 'GET /things/%zz HTTP/1.1']) {
      await expectProblem(`${line}\r\nHost: localhost\r\nConnection: close\r\n\r\n`, 400, 'invalid-request');
    }
  });

  test('for a tunnel is that there is none, with the Allow header that 405 asks for', async () => {
    const text = 'CONNECT a.example:1 HTTP/1.1\r\nHost: a.example:1\r\n\r\n';
    const answer = await exchange(app.server, text, { waitMs: 5_000 });
    const told = JSON.parse(answer.body) as { readonly code: string; readonly detail: string };
    assert.deepEqual([answer.status, told.code], [405, 'method-not-allowed']);
    assert.equal(answer.headers.get('allow'), '');
    assert.match(told.detail, /^This service opens no tunnels\. /);
  });
});
