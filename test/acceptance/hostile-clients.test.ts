// Clients that mean no good, by the byte, against the service as a process of its own: each is told 4xx or cut off, and
// somebody else is answered all the while.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';

import { KiB, MiB } from '../../src/base/units.ts';
import { residentBytes } from '../support/process-memory.ts';
import { startService } from '../support/service-process.ts';
import type { ServiceProcess } from '../support/service-process.ts';
import { tempFolder } from '../support/temp-folder.ts';

/** Only a watchdog: an answer takes milliseconds. */
const patienceMs = 20_000;
/** Each holds two descriptors: one here, one there. */
const idleCount = 2_000;
const memoryGrowthMax = 128 * MiB;
const host = 'Host: localhost\r\n';

const folder = tempFolder();
let service: ServiceProcess;

before(async () => {
  service = await startService({ QCOWD_DATA_DIR: join(folder.path, 'data') });
  const json = { 'content-type': 'application/json' };
  const body = JSON.stringify({ name: 'vm', virtualSize: 8 * MiB });
  assert.equal((await fetch(`${service.url}/v1/images`, { method: 'POST', headers: json, body })).status, 201);
  await readByStander();
});
after(async () => {
  assert.equal(await service.end('SIGTERM'), 0, 'it has lived through everything');
  folder[Symbol.dispose]();
});

async function readByStander(): Promise<void> {
  const answer = await fetch(`${service.url}/v1/images/vm/data`, {
    headers: { range: 'bytes=0-511' },
    signal: AbortSignal.timeout(patienceMs),
  });
  assert.equal(answer.status, 206);
  assert.equal((await answer.arrayBuffer()).byteLength, 512);
}

/** The statuses of everything that one connection was told before it was closed. */
async function statusesOf(text: string | Buffer): Promise<readonly number[]> {
  const socket = open();
  const pieces: Buffer[] = [];
  socket.on('data', (piece) => pieces.push(piece));
  socket.write(text);
  await closed(socket, JSON.stringify(text.toString('latin1').slice(0, 200)));
  const told = Buffer.concat(pieces).toString('latin1');
  return [...told.matchAll(/HTTP\/1\.1 (\d{3}) /g)].map(([, status]) => Number(status));
}

function open(): Socket {
  const socket = connect(Number(new URL(service.url).port), '127.0.0.1');
  // A connection that is cut is what is expected; that it is over is told by `close`.
  socket.on('error', () => socket.destroy());
  return socket;
}

async function closed(socket: Socket, what: string): Promise<void> {
  if (socket.closed) return;
  await once(socket, 'close', { signal: AbortSignal.timeout(patienceMs) }).catch((error: unknown) => {
    throw new Error(`the connection stays open: ${what}`, { cause: error });
  });
}

/** A request whose connection ends with its answer. */
function asking(line: string, headers = '', body = ''): string {
  return `${line} HTTP/1.1\r\n${host}Connection: close\r\n${headers}\r\n${body}`;
}

function jsonBody(text: string): readonly [string, string] {
  return [`Content-Type: application/json\r\nContent-Length: ${Buffer.byteLength(text)}\r\n`, text];
}

/** Told one 4xx, once, and the connection is closed. */
async function expectRefused(texts: readonly string[]): Promise<void> {
  for (const text of texts) {
    const statuses = await statusesOf(text);
    const [status = 0] = statuses;
    const isRefused = statuses.length === 1 && status >= 400 && status < 500;
    assert.ok(isRefused, `${JSON.stringify(text.slice(0, 300))} was told ${statuses.join(' ') || 'nothing'}`);
  }
  await readByStander();
}

describe('hostile clients', { timeout: 300_000 }, () => {
  test('that smuggle a request behind another are told 400, and the second is never looked at', async () => {
    const put = 'PUT /v1/images/vm/data HTTP/1.1\r\n' + host;
    const smuggled = asking('DELETE /v1/images/vm');
    await expectRefused([
      `${put}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${smuggled}`,
      `${put}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n${smuggled}`,
      `${put}Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcde${smuggled}`,
      `${put}Content-Length: 5, 5\r\n\r\nabcde${smuggled}`,
      `${put}Content-Length: +5\r\n\r\nabcde${smuggled}`,
      `${put}Content-Length: 0x5\r\n\r\nabcde${smuggled}`,
      `${put}Content-Length: -1\r\n\r\n${smuggled}`,
      `${put}Content-Length: 99999999999999999999999\r\n\r\n${smuggled}`,
      `${put}Content-Length : 5\r\n\r\nabcde${smuggled}`,
      `${put}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n${smuggled}`,
      `${put}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n${smuggled}`,
      `${put}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n${smuggled}`,
      `${put}X: a\r\n folded: b\r\n\r\n${smuggled}`,
      `${put}X: a\nContent-Length: 5\r\n\r\nabcde${smuggled}`,
      `${put}X: \0\r\n\r\n${smuggled}`,
      `${put}Bad Name: a\r\n\r\n${smuggled}`,
      `GET /healthz HTTP/1.1\n${host}\n${smuggled}`,
    ]);
    const chunked = `${put}Content-Range: bytes 0-4/*\r\nTransfer-Encoding: chunked\r\n\r\n`;
    await expectRefused([
      `${chunked}0x5\r\nabcde\r\n0\r\n\r\n${smuggled}`,
      `${chunked}-5\r\nabcde\r\n0\r\n\r\n${smuggled}`,
      `${chunked}FFFFFFFFFFFFFFFFFF\r\nabcde${smuggled}`,
      `${chunked}5;${'x'.repeat(64 * KiB)}\r\nabcde\r\n0\r\n\r\n${smuggled}`,
    ]);
  });

  test('that speak no HTTP, or too much of it, are told so', async () => {
    await expectRefused([
      'NONSENSE\r\n\r\n',
      '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03',
      `GET / HTTP/9.9\r\n${host}\r\n`,
      'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
      'GET /v1/images HTTP/1.1\r\nConnection: close\r\n\r\n',
      asking('GET /v1/images', `X: ${'x'.repeat(100 * KiB)}\r\n`),
      asking('GET /v1/images', Array.from({ length: 5_000 }, (_, at) => `X-${at}: 1\r\n`).join('')),
      asking(`GET /${'x'.repeat(20 * KiB)}`),
      asking(`GET /v1/images?label=${'x'.repeat(20 * KiB)}`),
      asking('TRACE /v1/images'),
      asking('OPTIONS /v1/images'),
      asking('OPTIONS *'),
      asking('BREW /v1/images'),
      asking('PROPFIND /v1/images'),
    ]);
  });

  test('that want a tunnel or another protocol do not get one', async () => {
    assert.ok((await statusesOf('CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n')).every(isRefusal));
    const upgrade = asking('GET /healthz').replace(
      'Connection: close',
      'Connection: close, Upgrade\r\nUpgrade: websocket',
    );
    assert.deepEqual(await statusesOf(upgrade), [200]);
    await readByStander();
  });

  test('that leave the paths of the service find nothing', async () => {
    const paths = ['/../../etc/passwd', '/v1/images/../../../etc/passwd', '/v1/images/..%2f..%2fetc%2fpasswd', '//etc'];
    const names = [
      '%2e%2e',
      '..',
      '%00',
      'vm%00',
      '%2f',
      'a%2fb',
      '%ff',
      '%zz',
      'vm;x',
      'vm%0d%0ax',
      '.hidden',
      'img_x',
    ];
    await expectRefused([
      ...paths.map((path) => asking(`GET ${path}`)),
      ...names.map((name) => asking(`GET /v1/images/${name}/data`)),
      ...names.map((name) => asking(`PUT /v1/imports/${name}`, 'Content-Length: 0\r\n')),
      ...['..%2fapp.ts', '%2e%2e%2f%2e%2e%2fpackage.json', '..%5c..'].map((name) => asking(`GET /docs/static/${name}`)),
    ]);
  });

  test('that write numbers in odd ways are told which', async () => {
    const numbers = ['1e3', '0x10', '+5', '-0', '-1', '9007199254740993', 'NaN', 'Infinity', '1.5', ' 1', '1_000', '١'];
    const asText = numbers.map((number) => encodeURIComponent(number));
    const range = (number: string): string => `Content-Range: bytes ${number}-${number}/*\r\nContent-Length: 1\r\n`;
    await expectRefused([
      ...asText.map((number) => asking(`GET /v1/images?limit=${number}`)),
      ...asText.map((number) => asking(`GET /v1/images/vm/extents?offset=${number}`)),
      ...asText.map((number) => asking(`GET /v1/images/vm/data?generation=${number}`)),
      ...numbers.slice(0, -2).map((number) => asking('PUT /v1/images/vm/data', range(number), 'x')),
      ...['1e400', '-1', '1.5', '"512"', '9007199254740993', 'NaN', '0x10', '+5', '01', 'null', '[512]', '{}'].map(
        (number) => asking('POST /v1/images', ...jsonBody(`{"name":"odd","virtualSize":${number}}`)),
      ),
    ]);
    // A Range that cannot be read is none (RFC 9110, section 14.2).
    for (const number of ['1e3', '0x10', '+5', 'NaN']) {
      assert.deepEqual(await statusesOf(asking('HEAD /v1/images/vm/data', `Range: bytes=${number}-\r\n`)), [200]);
    }
  });

  test('that reach for prototypes get nothing of them', async () => {
    const names = ['__proto__', 'constructor', 'toString', 'hasOwnProperty', 'prototype', 'valueOf'];
    await expectRefused([
      ...names.map((name) => asking(`GET /v1/images/${name}`)),
      ...names.map((name) => asking(`GET /v1/jobs/${name}`)),
      ...names.map((name) => asking(`GET /v1/images/vm/snapshots/${name}`)),
      ...names.map((name) => asking(`GET /problems/${name}`)),
      ...names.map((name) => asking(`GET /v1/images?${name}=1`)),
      ...names.map((name) => asking(`GET /v1/images/vm/extents?${name}=1`)),
      ...names.map((name) => asking('POST /v1/images', ...jsonBody(`{"name":"p","virtualSize":512,"${name}":{}}`))),
      ...names.map((name) => asking('POST /v1/images/vm/zero', ...jsonBody(`{"offset":0,"length":0,"${name}":1}`))),
      asking('POST /v1/images', ...jsonBody('{"name":"p","virtualSize":512,"labels":{"__proto__":"x"}}')),
      asking('POST /v1/images', ...jsonBody('['.repeat(200_000))),
    ]);
  });

  test('that ask again before they were answered are answered in order', async () => {
    const many = `GET /healthz HTTP/1.1\r\n${host}\r\n`.repeat(200);
    assert.deepEqual(await statusesOf(many + asking('GET /healthz')), new Array<number>(201).fill(200));
  });

  test('that expect something else than 100 Continue are told what becomes of it', async () => {
    const refused = 'Expect: 100-continue\r\nContent-Length: 5\r\n';
    await expectRefused([asking('PUT /v1/images/nobody/data', refused), asking('PUT /nowhere', refused)]);
    const statuses = await statusesOf(asking('PUT /v1/images/nobody/data', 'Expect: magic\r\nContent-Length: 5\r\n'));
    assert.ok(statuses.length === 1 && statuses.every(isRefusal), statuses.join(' '));
  });

  test('that hold thousands of connections cost little, and nobody else waits', async (context) => {
    const atFirst = residentBytes(service.child);
    const beginnings = [
      '',
      'GET /v1/im',
      `GET /v1/images HTTP/1.1\r\n${host}X: `,
      `PUT /v1/images/vm/data HTTP/1.1\r\n${host}Content-Range: bytes 0-4194303/*\r\nContent-Length: 4194304\r\n\r\nslow`,
      `PUT /v1/images/vm/data HTTP/1.1\r\n${host}Content-Range: bytes 0-4194303/*\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nslow\r\n`,
      `POST /v1/images HTTP/1.1\r\n${host}Content-Type: application/json\r\nContent-Length: 1000000\r\n\r\n{"name":`,
      `GET /healthz HTTP/1.1\r\n${host}\r\n`,
    ];
    const sockets = Array.from({ length: idleCount }, (_, index) => {
      const socket = open();
      socket.write(beginnings[index % beginnings.length] ?? '');
      return socket;
    });
    for (let round = 0; round < 20; round += 1) {
      await pause(50);
      await readByStander();
      // A little more, so that none of them is quite idle.
      for (const [index, socket] of sockets.entries()) if (index % beginnings.length === 3) socket.write('.');
    }
    assert.ok(sockets.filter((socket) => !socket.destroyed).length > idleCount / 2, 'they are there');
    const growth = residentBytes(service.child) - atFirst;
    context.diagnostic(`${idleCount} connections: ${Math.round(growth / MiB)} MiB`);
    assert.ok(growth <= memoryGrowthMax, `it grew by ${Math.round(growth / MiB)} MiB`);
    for (const socket of sockets) socket.destroy();
    await readByStander();
  });
});

function isRefusal(status: number): boolean {
  return status >= 400 && status < 500;
}
