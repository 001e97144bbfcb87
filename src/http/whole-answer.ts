// A short answer as one piece: head and bytes in one buffer, in one call of the system. Node makes two pieces of them, judges
// every header by itself and joins the pieces again, which is a seventh of what a short read costs. What goes on before the
// answer and after it stays Node's business.

import { STATUS_CODES } from 'node:http';
import type { ServerResponse } from 'node:http';

import type { FastifyReply } from 'fastify';

import { KiB } from '../base/units.ts';
import type { App } from './schema.ts';

/** Longer bytes are not worth the copy, and their buffer is worth having back. In bytes. */
export const wholeLengthMax = 32 * KiB - 1;
/** A head that is longer is Node's, too. In bytes. */
const headLengthMax = 4 * KiB;

/** A date is told for as long as it is true, in milliseconds. */
const dateMs = 1_000;

/** What would end a header, or is more than one byte. */
const unprintable = /[^\t\x20-\x7e]/;

/** How Node keeps what it will send as the head of an answer; with `_headerSent` it takes it as sent. */
interface HeadOfNode {
  _header: string | null;
  _headerSent: boolean;
}

/** An answer that is bytes. */
export interface ByteAnswer {
  readonly status: number;
  /** What is said of the bytes besides their length: in our own words, which need no second look. */
  readonly headers: Readonly<Record<string, string | number>>;
  readonly bytes: Uint8Array;
}

export class WholeAnswers {
  readonly #wallClock: () => number;
  readonly #lines: string;
  #buffer = newBuffer();
  #date = '';
  #dateUntil = -Infinity;

  /** `wallClock` tells milliseconds since 1970; `keepAliveMs` is what clients are told of an idle connection. */
  constructor(options: { readonly wallClock: () => number; readonly keepAliveMs: number }) {
    this.#wallClock = options.wallClock;
    this.#lines = `Connection: keep-alive\r\nKeep-Alive: timeout=${Math.floor(options.keepAliveMs / 1000)}\r\n\r\n`;
  }

  /**
   * Sends an answer, with more headers in front of its own; its bytes may be used for something else at once. False, with
   * nothing done, where more is to be thought of: a connection that ends with this answer, a client that waits for 100
   * Continue, headers of an odd kind or said twice, bytes that are not short.
   */
  send(raw: ServerResponse, before: Readonly<Record<string, unknown>>, answer: ByteAnswer): boolean {
    const { socket } = raw;
    const { status, bytes } = answer;
    if (bytes.length > wholeLengthMax || !raw.shouldKeepAlive || raw.headersSent) return false;
    if (socket === null || !socket.writable || raw.req.headers.expect !== undefined) return false;
    const head = this.#headOf(before, answer);
    if (head === undefined || head.length > headLengthMax) return false;
    raw.statusCode = status;
    const length = head.length + bytes.length;
    // TLS takes its time with every buffer; this one is for sockets that are done with it at once.
    const whole = 'encrypted' in socket ? Buffer.allocUnsafe(length) : this.#buffer.subarray(0, length);
    whole.write(head, 0, 'latin1');
    whole.set(bytes, head.length);
    noteHead(raw, head);
    socket.write(whole);
    // What the system has not taken yet is still read from there.
    if (socket.writableLength > 0 && whole.buffer === this.#buffer.buffer) this.#buffer = newBuffer();
    raw.end();
    return true;
  }

  #headOf(before: Readonly<Record<string, unknown>>, { status, headers, bytes }: ByteAnswer): string | undefined {
    if (before['connection'] !== undefined) return undefined;
    let values = '';
    let lines = `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}\r\n`;
    for (const name in before) {
      const value = before[name];
      if (typeof value !== 'string' && typeof value !== 'number') return undefined;
      // Said before of other bytes, and again of these: Node's way keeps one of the two.
      if (name in headers || name === 'content-length') return undefined;
      values += String(value);
      lines += `${name}: ${value}\r\n`;
    }
    if (unprintable.test(values)) return undefined;
    for (const name in headers) lines += `${name}: ${headers[name] ?? ''}\r\n`;
    return `${lines}content-length: ${bytes.length}\r\n${this.#dateLine()}${this.#lines}`;
  }

  #dateLine(): string {
    const now = this.#wallClock();
    // A clock that was set back is believed, too.
    if (now >= this.#dateUntil || now < this.#dateUntil - dateMs) {
      this.#date = `Date: ${new Date(now).toUTCString()}\r\n`;
      this.#dateUntil = (Math.floor(now / dateMs) + 1) * dateMs;
    }
    return this.#date;
  }
}

/** Gives every answer of an app its way to leave whole. */
export function prepareWholeAnswers(app: App, answers: WholeAnswers): void {
  app.decorate(decorator, answers);
}

export function wholeAnswersOf(reply: FastifyReply): WholeAnswers {
  return reply.server.getDecorator<WholeAnswers>(decorator);
}

function noteHead(raw: ServerResponse, head: string): void {
  const node = raw as unknown as HeadOfNode;
  node._header = head;
  node._headerSent = true;
}

function newBuffer(): Buffer {
  return Buffer.allocUnsafeSlow(headLengthMax + wholeLengthMax);
}

const decorator = 'wholeAnswers';
