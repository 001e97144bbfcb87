// Sends a problem, also while the client is still sending its body: the answer goes out first, then the line is closed.

import type { Socket } from 'node:net';

import type { FastifyReply, FastifyRequest } from 'fastify';

import { KiB, MiB } from '../base/units.ts';
import { printProblem, problemMediaType } from './problem.ts';
import type { Problem } from './problem.ts';
import { awaitsContinue, bodyLengthOf, hasUnreadBody } from './request-body.ts';

/** A body that is not longer is read and dropped, and the connection stays. */
const droppedLengthMax = 64 * KiB;

/** How much of a refused body is taken, so that the client gets to reading its answer before the line is closed. */
const lingerLengthMax = 16 * MiB;
const lingerMsMax = 1_000;

/** What a handler may have said of its content before it failed. */
const contentHeaders = [
  'accept-ranges',
  'cache-control',
  'content-digest',
  'content-disposition',
  'content-range',
  'etag',
  'image-generation',
];

/** Connections whose last answer has gone out. */
const lastAnswered = new WeakSet<Socket>();

/** Whether nothing more is answered on this connection, whatever comes in. */
export function isLastAnswered(socket: Socket): boolean {
  return lastAnswered.has(socket);
}

/** Answers a request with a problem. */
export function sendProblem(request: FastifyRequest, reply: FastifyReply, problem: Problem): void {
  const body = printProblem(problem.body);
  for (const header of contentHeaders) reply.removeHeader(header);
  void reply.code(problem.status).headers(problem.headers);
  void reply.header('content-type', problemMediaType).header('content-length', body.length);
  // Of whoever has let us wait, the rest of the body is not waited for (RFC 9110, section 15.5.9).
  const waits = problem.body.code !== 'request-timeout';
  if (waits && !leavesBody(request)) {
    void reply.send(body);
    return;
  }
  void reply.header('connection', 'close');
  if (awaitsContinue(request.raw)) {
    void reply.send(body);
    return;
  }
  sendLingering(request, reply, body);
}

/** Whether the connection cannot be used again without reading a long rest of the body. */
function leavesBody(request: FastifyRequest): boolean {
  if (!hasUnreadBody(request.raw)) return false;
  if (awaitsContinue(request.raw)) return true;
  const length = bodyLengthOf(request.raw);
  return length === undefined || length > droppedLengthMax;
}

/**
 * Closing with unread bytes in the socket makes the kernel reset the connection, and the client may lose the answer.
 * So the whole answer is sent, some of the body is dropped, and only then the answer is ended, which closes the line.
 */
function sendLingering(request: FastifyRequest, reply: FastifyReply, body: Buffer): void {
  const headers = reply.getHeaders();
  reply.hijack();
  lastAnswered.add(request.raw.socket);
  reply.raw.writeHead(reply.statusCode, headers as Record<string, string>);
  if (request.method !== 'HEAD') reply.raw.write(body);
  let dropped = 0;
  const end = (): void => {
    clearTimeout(deadline);
    reply.raw.end();
  };
  const deadline = setTimeout(end, lingerMsMax);
  request.raw.on('data', (piece: Buffer) => {
    dropped += piece.length;
    if (dropped > lingerLengthMax) end();
  });
  request.raw.once('end', end);
  request.raw.once('close', end);
  request.raw.once('error', end);
}
