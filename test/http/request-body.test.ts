import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { IncomingMessage } from 'node:http';
import { connect } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';

import { Fault } from '../../src/base/fault.ts';
import { bodyOf } from '../../src/http/request-body.ts';
import { portOf } from '../support/raw-http.ts';

const patience = { idleMsMax: 1_000, lengthMin: 100 };
const bodyLength = 10_000;
const server = createServer();

before(async () => {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
});
after(() => server.close());

/** Lets a client send a body in its own way, `write` tells whether it still may; how much of it came, or the code of the fault. */
async function take(
  send: (write: (length: number) => boolean) => Promise<void>,
  slowly: () => Promise<void>,
): Promise<number | string> {
  const socket = connect(portOf(server), '127.0.0.1');
  socket.write(`PUT / HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${bodyLength}\r\n\r\n`);
  const [request] = (await once(server, 'request')) as [IncomingMessage];
  const sent = send((length) => {
    if (!socket.destroyed) socket.write('x'.repeat(length));
    return !socket.destroyed;
  });
  try {
    let length = 0;
    for await (const piece of bodyOf(request, patience)) {
      length += piece.length;
      await slowly();
    }
    return length;
  } catch (error) {
    assert.ok(error instanceof Fault);
    return error.code;
  } finally {
    socket.destroy();
    await sent;
  }
}

const atOnce = async (): Promise<void> => undefined;

describe('a body', () => {
  test('that comes a byte at a time is given up', async () => {
    const outcome = await take(async (write) => {
      while (write(1)) await pause(20);
    }, atOnce);
    assert.equal(outcome, 'request-timeout');
  });

  test('that stops is given up', async () => {
    assert.equal(await take(async (write) => void write(bodyLength - 1), atOnce), 'request-timeout');
  });

  test('that comes steadily may take longer than a body may stand still', async () => {
    const outcome = await take(async (write) => {
      for (let sent = 0; sent < bodyLength; sent += 100) {
        write(100);
        await pause(20);
      }
    }, atOnce);
    assert.equal(outcome, bodyLength);
  });

  test('may lie there for as long as nobody takes it', async () => {
    let taken = false;
    const outcome = await take(
      async (write) => {
        write(10);
        while (!taken) await pause(10);
        write(bodyLength - 10);
      },
      async () => {
        if (!taken) await pause(2 * patience.idleMsMax + 200);
        taken = true;
      },
    );
    assert.equal(outcome, bodyLength);
  });
});
