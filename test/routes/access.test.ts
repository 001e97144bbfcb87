import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import { demandOf, hasDemand } from '../../routes/operation-scopes.ts';
import { exchange } from '../support/raw-http.ts';
import { tempFolder } from '../support/temp-folder.ts';
import { codeOf, startTestService } from '../support/test-service.ts';
import type { TestService } from '../support/test-service.ts';

const folder = tempFolder();
const tokensFile = join(folder.path, 'tokens');
const lineOf = (name: string, scope: string): string =>
  `${name}:${scope}:${hash('sha256', `secret-of-${name}`, 'hex')}`;
const bearer = (name: string): string => `Bearer secret-of-${name}`;
let service: TestService;

before(async () => {
  writeFileSync(tokensFile, [lineOf('looker', 'read'), lineOf('writer', 'write'), lineOf('boss', 'admin')].join('\n'));
  service = await startTestService({ QCOWD_TOKENS_FILE: tokensFile });
});
after(async () => {
  await service[Symbol.asyncDispose]();
  folder[Symbol.dispose]();
});

describe('a service with tokens', () => {
  test('asks for one, and says so', async () => {
    const answer = await service.get('/v1/images');
    assert.deepEqual([answer.status, codeOf(answer)], [401, 'unauthenticated']);
    assert.equal(answer.headers['www-authenticate'], 'Bearer realm="qcowd"');
    for (const wrong of ['Bearer nobody', 'Basic YTpi', 'Bearer', bearer('looker').slice(0, -1)]) {
      const refused = await service.get('/v1').set('Authorization', wrong);
      assert.equal(refused.status, 401, wrong);
      assert.equal(refused.headers['www-authenticate'], 'Bearer realm="qcowd", error="invalid_token"');
    }
  });

  test('lets each scope do its own and what is below it', async () => {
    await service.get('/v1/images').set('Authorization', bearer('looker')).expect(200);
    const refused = await service
      .post('/v1/images', { name: 'a', virtualSize: 0 })
      .set('Authorization', bearer('looker'));
    assert.deepEqual([refused.status, codeOf(refused)], [403, 'forbidden']);
    const { neededScope, scope } = refused.body as { readonly neededScope: string; readonly scope: string };
    assert.deepEqual([neededScope, scope], ['write', 'read']);
    await service
      .post('/v1/images', { name: 'a', virtualSize: 512 })
      .set('Authorization', bearer('writer'))
      .expect(201);
    await service.get('/v1/images/a').set('Authorization', bearer('boss')).expect(200);
    await service.delete('/v1/images/a').set('Authorization', bearer('boss').replace('Bearer', 'bearer')).expect(204);
  });

  test('asks before it says what there is', async () => {
    assert.equal((await service.get('/nowhere')).status, 401);
    assert.equal((await service.delete('/v1/images')).status, 401);
    assert.equal((await service.get('/nowhere').set('Authorization', bearer('looker'))).status, 404);
    assert.equal((await service.delete('/v1/images').set('Authorization', bearer('looker'))).status, 405);
    const misfit = await service.post('/v1/images', { size: 'x' }).set('Authorization', bearer('looker'));
    assert.equal(misfit.status, 403);
  });

  test('lets whoever looks check an image, but not repair it', async () => {
    const check = (name: string, body?: object) =>
      service.post('/v1/images/checked/check', body).set('Authorization', bearer(name));
    await service.post('/v1/images', { name: 'checked', virtualSize: 512 }).set('Authorization', bearer('writer'));
    for (const body of [undefined, {}, { repair: 'none' }]) {
      assert.equal(((await check('looker', body).expect(200)).body as { clean: boolean }).clean, true);
    }
    for (const repair of ['leaks', 'all']) {
      const refused = await check('looker', { repair }).expect(403);
      assert.equal(codeOf(refused), 'forbidden');
      assert.match((refused.body as { detail: string }).detail, /write/);
      await check('writer', { repair }).expect(200);
    }
  });

  test('keeps what everybody may see free', async () => {
    for (const path of [
      '/',
      '/healthz',
      '/readyz',
      '/problems',
      '/problems/forbidden',
      '/openapi.json',
      '/docs/static/swagger-ui.css',
      '/docs/json',
    ]) {
      await service.get(path).expect(200);
    }
  });

  test('answers under any name, because no browser sends a token by itself', async () => {
    const asked = service.get('/v1').set('Host', 'disks.example').set('Origin', 'http://other.example');
    await asked.set('Authorization', bearer('looker')).expect(200);
  });

  test('refuses an upload before its body', async () => {
    const head = 'PUT /v1/imports/a HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\nExpect: 100-continue\r\n\r\n';
    const answer = await exchange(service.application.server.server, head, { waitMs: 10_000 });
    assert.match(answer.text, /^HTTP\/1\.1 401 /);
  });

  test('reads its list again when asked, and keeps the old one when the new one is no list', async () => {
    writeFileSync(tokensFile, 'nonsense');
    await assert.rejects(service.application.reload(), /line 1 is not name:scope:sha256/);
    await service.get('/v1').set('Authorization', bearer('looker')).expect(200);
    writeFileSync(tokensFile, lineOf('boss', 'admin'));
    await service.application.reload();
    await service.get('/v1').set('Authorization', bearer('looker')).expect(401);
    await service.get('/v1').set('Authorization', bearer('boss')).expect(200);
  });
});

describe('the table of scopes', () => {
  test('has a row for every operation', async () => {
    const answer = await service.get('/openapi.json').expect(200);
    const { paths } = answer.body as { paths: Record<string, Record<string, { operationId: string }>> };
    const operations = Object.values(paths).flatMap((methods) =>
      Object.values(methods).map((each) => each.operationId),
    );
    assert.ok(operations.length > 20);
    assert.deepEqual(
      operations.filter((operation) => !hasDemand(operation)),
      [],
    );
  });

  test('lets only admins at what it does not know', () => {
    assert.equal(demandOf('inventedOperation'), 'admin');
    assert.equal(demandOf(undefined), 'admin');
  });
});
