// The peer of the data routes, a process of its own: one raw file over bare `node:http`, as fast as plain code gets.

import { closeSync, fdatasyncSync, openSync, readSync, writeSync } from 'node:fs';
import { createServer } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';

import { MiB } from '../src/base/units.ts';

/** The plain server's first and only word to its parent. */
export interface PlainServerReady {
  readonly port: number;
}

const [path = ''] = process.argv.slice(2);
const descriptor = openSync(path, 'r+');
/** Longer answers go out piece by piece, as the client takes them. */
const pieceLength = 1 * MiB;

const server = createServer({ noDelay: true }, (request, response) => {
  if (request.method === 'GET') sendRange(request, response);
  else takeRange(request, response);
});
server.listen(0, '127.0.0.1', () => {
  const address = server.address();
  if (typeof address === 'object' && address !== null)
    process.send?.({ port: address.port } satisfies PlainServerReady);
});
process.once('SIGTERM', () => {
  closeSync(descriptor);
  process.exit(0);
});

function sendRange(request: IncomingMessage, response: ServerResponse): void {
  const [, first = '', last = ''] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '') ?? [];
  let offset = Number(first);
  const end = Number(last) + 1;
  response.writeHead(206, {
    'content-type': 'application/octet-stream',
    'content-length': end - offset,
    'content-range': `bytes ${first}-${last}/*`,
  });
  const readPiece = (): Buffer => {
    const bytes = Buffer.allocUnsafe(Math.min(pieceLength, end - offset));
    const count = readSync(descriptor, bytes, 0, bytes.length, offset);
    offset += count;
    return bytes.subarray(0, count);
  };
  const sendNext = (): void => {
    while (end - offset > pieceLength) {
      if (response.write(readPiece())) continue;
      response.once('drain', sendNext);
      return;
    }
    response.end(readPiece());
  };
  sendNext();
}

/** `?durable` syncs before the answer. */
function takeRange(request: IncomingMessage, response: ServerResponse): void {
  const [, first = ''] = /^bytes (\d+)-/.exec(request.headers['content-range'] ?? '') ?? [];
  let offset = Number(first);
  request.on('data', (piece: Buffer) => {
    writeSync(descriptor, piece, 0, piece.length, offset);
    offset += piece.length;
  });
  request.on('end', () => {
    if (request.url?.endsWith('?durable') === true) fdatasyncSync(descriptor);
    response.writeHead(204).end();
  });
}
