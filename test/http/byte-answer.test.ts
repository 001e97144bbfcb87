import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';

import request from 'supertest';

import { Fault } from '../../src/base/fault.ts';
import { answerBytes, rangeOf } from '../../src/http/byte-answer.ts';
import { conditionsOf } from '../../src/http/conditional.ts';
import type { App } from '../../src/http/schema.ts';
import { createServer } from '../../src/http/server.ts';
import { bareServer } from '../support/bare-server.ts';

const sizeBefore = 3_000;
/** What everybody believes until the first read. */
const known = { size: sizeBefore, generation: 1 };
/** What is the case. */
const real = { size: sizeBefore, generation: 1 };
let app: App;

before(async () => {
  app = await createServer(bareServer());
  app.get('/bytes', async (asked, reply) => {
    void reply.header('content-type', 'application/octet-stream');
    return await answerBytes(asked, reply, {
      source: {
        get size() {
          return known.size;
        },
        generation: known.generation,
        etagOf: (generation) => `"thing-${generation}"`,
        read: async ({ offset, length }) => {
          Object.assign(known, real);
          if (offset + length > real.size) throw new Fault('range-not-satisfiable', { size: real.size });
          return { bytes: Buffer.alloc(length, 7), generation: real.generation };
        },
        chunks: () => assert.fail('short answers leave as one'),
        recycle: () => undefined,
      },
      conditions: conditionsOf(asked.headers, { generation: undefined }),
      range: rangeOf(asked),
    });
  });
  await app.listen({ host: '127.0.0.1', port: 0 });
});

beforeEach(() => {
  Object.assign(known, { size: sizeBefore, generation: 1 });
});

after(async () => app.close());

describe('bytes of a content that is resized while somebody asks', () => {
  test('are those that are left of it', async () => {
    Object.assign(real, { size: 2_000, generation: 2 });
    const part = await request(app.server).get('/bytes').set('Range', 'bytes=1000-2999').expect(206);
    assert.equal(part.headers['content-range'], 'bytes 1000-1999/2000');
    assert.equal(part.headers['content-length'], '1000');
    assert.equal(part.headers['etag'], '"thing-2"');
    Object.assign(known, { size: sizeBefore, generation: 1 });
    const whole = await request(app.server).get('/bytes').expect(200);
    assert.equal(whole.headers['content-length'], '2000');
    assert.equal(whole.headers['content-range'], undefined);
  });

  test('are all of it when it has grown', async () => {
    Object.assign(real, { size: 4_000, generation: 2 });
    const open = await request(app.server).get('/bytes').set('Range', 'bytes=1000-').expect(206);
    assert.equal(open.headers['content-range'], 'bytes 1000-3999/4000');
  });

  test('are 416 when none of them are left', async () => {
    Object.assign(real, { size: 1_000, generation: 2 });
    const gone = await request(app.server).get('/bytes').set('Range', 'bytes=1000-2999').expect(416);
    assert.equal(gone.headers['content-range'], 'bytes */1000');
  });
});
