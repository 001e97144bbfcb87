import assert from 'node:assert/strict';
import { test } from 'node:test';

import { pino } from 'pino';
import request from 'supertest';

import { createServer } from '../../src/http/server.ts';
import { bareServer } from '../support/bare-server.ts';

test('only what goes wrong leaves a line, with the name of the request and never with its content', async () => {
  const lines: string[] = [];
  const log = pino({ level: 'trace' }, { write: (line: string) => void lines.push(line) });
  const server = await createServer({ ...bareServer(), log });
  server.get('/well', async () => ({}));
  server.get('/ill', async () => {
    throw new Error('a bug');
  });
  await server.ready();
  await request(server.server).get('/well').expect(200);
  await request(server.server).get('/nowhere').expect(404);
  assert.deepEqual(lines, []);
  await request(server.server).get('/ill?secret=yes').set('Request-Id', 'mine').expect(500);
  await server.close();
  assert.equal(lines.length, 1);
  const { level, requestId, path, status, err, msg } = JSON.parse(String(lines[0])) as Record<string, unknown>;
  assert.deepEqual([level, requestId, path, status, msg], [50, 'mine', '/ill', 500, 'failed']);
  assert.match(String((err as { readonly stack: unknown }).stack), /server-log\.test\.ts/);
  assert.doesNotMatch(String(lines[0]), /secret/);
});
