import assert from 'node:assert/strict';
import { test } from 'node:test';

import { pino } from 'pino';
import request from 'supertest';

import { Fault } from '../../src/base/fault.ts';
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

test('a refusal because of too much to do, or at the end, says which of them it is', async () => {
  const lines: string[] = [];
  const log = pino({ level: 'trace' }, { write: (line: string) => void lines.push(line) });
  const state = { draining: false };
  const server = await createServer({ ...bareServer(), log, isDraining: () => state.draining });
  server.get('/busy', async () => {
    throw new Fault('engine-busy', { queued: 7 });
  });
  await server.ready();
  await request(server.server).get('/busy').expect(503);
  state.draining = true;
  await request(server.server).get('/busy').expect(503);
  await server.close();
  const told = lines.map((line) => JSON.parse(line) as Record<string, unknown>);
  assert.deepEqual(
    told.map(({ level, path, status, code, facts, msg }) => [level, path, status, code, facts, msg]),
    [
      [40, '/busy', 503, 'engine-busy', { queued: 7 }, 'refused'],
      [40, '/busy', 503, 'draining', {}, 'refused'],
    ],
  );
});
