// What is refused before there is a request for the routes: answered as problems too, on the bare socket.

import { STATUS_CODES } from 'node:http';
import type { IncomingMessage, Server } from 'node:http';
import type { Socket } from 'node:net';

import { Fault } from '../base/fault.ts';
import { printProblem, problemMediaType, toProblem } from './problem.ts';
import { isLastAnswered } from './refusal.ts';

/** The parser's error, as far as it is looked at. */
interface ParserError extends Error {
  readonly code?: string;
  /** The bytes that were being parsed. */
  readonly rawPacket?: unknown;
}

/** Answers and closes: after a parser error nobody knows where the next request would begin. */
export function answerParserError(error: ParserError, socket: Socket, options: { readonly requestId: string }): void {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy();
    return;
  }
  // The rest of a body that was refused already, and that nobody can parse.
  if (isLastAnswered(socket)) {
    socket.end();
    return;
  }
  answerOnSocket(faultOf(error), socket, options);
}

/**
 * There is nothing to connect to behind this service: what CONNECT names has no method at all, which an empty Allow says
 * (RFC 9110 §10.2.1, §15.5.6).
 */
export function refuseTunnels(server: Server, newRequestId: () => string): void {
  server.on('connect', (_request: IncomingMessage, socket: Socket) => {
    answerOnSocket(new Fault('method-not-allowed', { allow: [] }), socket, { requestId: newRequestId() });
  });
}

/** Answers with a problem where no request can be answered, and closes. */
function answerOnSocket(fault: Fault, socket: Socket, options: { readonly requestId: string }): void {
  const problem = toProblem(fault, { instance: '/', requestId: options.requestId });
  const body = printProblem(problem.body);
  const head = [
    `HTTP/1.1 ${problem.status} ${STATUS_CODES[problem.status] ?? ''}`,
    `Content-Type: ${problemMediaType}`,
    `Content-Length: ${body.length}`,
    `Request-Id: ${options.requestId}`,
    ...Object.entries(problem.headers).map(([name, value]) => `${name}: ${value}`),
    'Connection: close',
    '',
    '',
  ];
  socket.end(Buffer.concat([Buffer.from(head.join('\r\n')), body]));
}

function faultOf(error: ParserError): Fault {
  if (error.code === 'ERR_HTTP_REQUEST_TIMEOUT') return new Fault('request-timeout', {});
  if (error.code === 'HPE_HEADER_OVERFLOW') return overflowFault(error.rawPacket);
  const message = `the HTTP parser says: ${error.message}`;
  return new Fault('invalid-request', { errors: [{ pointer: '', in: 'request', message }] });
}

/** The parser counts the request line and the headers together: whichever filled the packet was too long. */
function overflowFault(packet: unknown): Fault {
  const inRequestLine = Buffer.isBuffer(packet) && !packet.includes('\n');
  return new Fault(inRequestLine ? 'uri-too-long' : 'headers-too-large', {});
}
