import assert from 'node:assert/strict';
import { test } from 'node:test';

import { startBrakedService } from '../support/braked-service.ts';
import { tempFolder } from '../support/temp-folder.ts';

test('a service whose engine does not answer is not ready and says so; it lives', async () => {
  using folder = tempFolder();
  await using service = await startBrakedService(folder.path);
  await service.house.pool.close();
  const answer = await service.get('/readyz').expect(503);
  const { code, checks } = answer.body as { readonly code: string; readonly checks: Record<string, string> };
  assert.equal(code, 'not-ready');
  assert.deepEqual(
    [checks['catalog'], checks['dataDirectory'], checks['freeSpace'], checks['engine']],
    ['ok', 'ok', 'ok', 'failing'],
  );
  assert.ok(Number(answer.headers['retry-after']) > 0);
  await service.get('/healthz').expect(200);
});
