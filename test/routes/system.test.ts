import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { codeOf, pointersOf, startTestService } from '../support/test-service.ts';
import type { TestService } from '../support/test-service.ts';

let service: TestService;

before(async () => {
  service = await startTestService();
});
after(async () => service[Symbol.asyncDispose]());

describe('the service', () => {
  test('welcomes programs and browsers', async () => {
    const answer = await service.get('/').expect(200);
    assert.deepEqual(answer.body, {
      name: 'qcowd',
      version: '0.0.0-test',
      links: { api: '/v1', docs: '/docs', openapi: '/openapi.json', problems: '/problems' },
    });
    const page = await service.get('/').set('Accept', 'text/html,application/xhtml+xml,*/*;q=0.8').expect(200);
    assert.match(String(page.headers['content-type']), /^text\/html/);
    assert.match(page.text, /<h1>qcowd/);
  });

  test('lives and is ready', async () => {
    await service.get('/healthz').expect(200, { status: 'ok' });
    const answer = await service.get('/readyz').expect(200);
    const { checks } = answer.body as { checks: Record<string, string> };
    assert.deepEqual([checks['catalog'], checks['dataDirectory'], checks['engine']], ['ok', 'ok', 'ok']);
  });

  test('says what it can do', async () => {
    const answer = await service.get('/v1').expect(200);
    const info = answer.body as { features: string[]; formats: string[]; limits: Record<string, number> };
    for (const feature of ['snapshots', 'leases', 'jobs', 'bitmaps'])
      assert.ok(info.features.includes(feature), feature);
    assert.deepEqual(info.features, info.features.toSorted());
    assert.deepEqual(info.formats, ['qcow2', 'raw']);
    assert.equal(info.limits['virtualSizeMax'], 2 ** 53 - 512);
    assert.equal(info.limits['chainDepthMax'], 64);
    assert.equal(info.limits['leasesMax'], 128);
    assert.ok(answer.text.endsWith('}\n'));
  });

  test('publishes its document', async () => {
    const answer = await service.get('/openapi.json').expect(200);
    assert.equal((answer.body as { openapi: string }).openapi, '3.1.0');
  });

  test('has a page to browse it by, made of its own files only', async () => {
    const page = await service.get('/docs').redirects(2).expect(200);
    assert.match(String(page.headers['content-type']), /^text\/html/);
    const policy = new Map(
      String(page.headers['content-security-policy'])
        .split(';')
        .map((rule) => rule.trim().split(' '))
        .map(([name = '', ...sources]) => [name, sources] as const),
    );
    assert.deepEqual(policy.get('default-src'), ["'none'"]);
    assert.deepEqual(policy.get('script-src'), ["'self'"]);
    const outside = [...policy.values()].flat().filter((source) => !["'none'", "'self'", 'data:'].includes(source));
    assert.deepEqual(outside, []);
    assert.doesNotMatch(page.text, /<script(?![^>]*\bsrc=)|<style|\son[a-z]+=|\sstyle=/i);
    const files = Array.from(page.text.matchAll(/(?:src|href)="([^"]+)"/g), (match) => match[1] ?? '');
    assert.ok(files.some((file) => file.endsWith('.js')));
    for (const file of files) {
      await service.get(new URL(file, 'http://localhost/docs/').pathname).expect(200);
      assert.doesNotMatch(file, /^(https?:)?\/\//);
    }
    assert.equal(((await service.get('/docs/json').expect(200)).body as { openapi: string }).openapi, '3.1.0');
  });

  test('explains every problem, also the one at hand', async () => {
    const table = await service.get('/problems').expect(200);
    const { items } = table.body as { items: { code: string; status: number }[] };
    assert.ok(items.length > 20);
    const problem = await service.get('/v1/images/nobody').expect(404);
    const { type } = problem.body as { type: string };
    const explained = await service.get(type).expect(200);
    assert.equal((explained.body as { code: string }).code, 'image-not-found');
    assert.equal(codeOf(await service.get('/problems/odd')), 'route-not-found');
  });

  test('knows its paths and their methods', async () => {
    const wrong = await service.delete('/v1/images');
    assert.deepEqual([wrong.status, wrong.headers['allow']], [405, 'GET, HEAD, POST']);
    assert.equal((await service.get('/v1/image')).status, 404);
    assert.equal(codeOf(await service.get('/v1/images/')), 'route-not-found');
    assert.equal((await service.post('/v1/images/x/data')).headers['allow'], 'GET, HEAD, PUT');
    assert.deepEqual(pointersOf(await service.get('/v1/images?x=1')), ['/x']);
  });

  test('is not asked by foreign pages', async () => {
    const answer = await service.get('/v1/images').set('Origin', 'http://evil.example');
    assert.deepEqual([answer.status, codeOf(answer)], [403, 'forbidden']);
    assert.equal((await service.get('/v1').set('Host', 'evil.example')).status, 403);
  });
});
