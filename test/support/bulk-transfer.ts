// Moves gigabytes in and out of a service without holding them.

import { once } from 'node:events';
import { request } from 'node:http';
import type { IncomingMessage } from 'node:http';
import { pipeline } from 'node:stream/promises';

/** PUTs `count` times the same piece; the status. */
export async function upload(
  url: string,
  options: { readonly piece: Buffer; readonly count: number },
): Promise<number> {
  const { piece, count } = options;
  const outgoing = request(url, { method: 'PUT', headers: { 'content-length': piece.length * count } });
  const answer = once(outgoing, 'response');
  for (let sent = 0; sent < count; sent += 1) {
    if (!outgoing.write(piece)) await once(outgoing, 'drain');
  }
  outgoing.end();
  return drain(await answer);
}

/** GETs everything; how many bytes there were. */
export async function download(url: string): Promise<number> {
  const incoming = await get(url);
  let length = 0;
  for await (const piece of incoming) length += (piece as Buffer).length;
  return length;
}

/** PUTs what a GET brings; the status. */
export async function transfer(from: string, to: string): Promise<number> {
  const incoming = await get(from);
  const length = incoming.headers['content-length'];
  const outgoing = request(to, { method: 'PUT', headers: { 'content-length': length } });
  const answer = once(outgoing, 'response');
  await pipeline(incoming, outgoing);
  return drain(await answer);
}

async function get(url: string): Promise<IncomingMessage> {
  const outgoing = request(url);
  outgoing.end();
  const [incoming] = (await once(outgoing, 'response')) as [IncomingMessage];
  return incoming;
}

async function drain(answer: unknown[]): Promise<number> {
  const [incoming] = answer as [IncomingMessage];
  incoming.resume();
  await once(incoming, 'end');
  return incoming.statusCode ?? 0;
}
