// One keep-alive connection over a bare socket: a request at a time, and as little work of its own as possible.

import { once } from 'node:events';
import { connect } from 'node:net';
import type { Socket } from 'node:net';

const headEnd = Buffer.from('\r\n\r\n');

/** What has come of an answer. */
interface Arrival {
  status: number;
  /** Of the body; -1 until the head is there. */
  left: number;
  bodyLength: number;
}

export class HttpLine {
  readonly #socket: Socket;
  #head: Buffer = Buffer.alloc(0);
  #arrival: Arrival | undefined;
  #settle: { resolve: (answer: Arrival) => void; reject: (error: Error) => void } | undefined;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.setNoDelay(true);
    socket.on('data', (piece) => {
      this.#take(piece);
    });
    const fail = (error: Error): void => this.#settle?.reject(error);
    socket.on('error', fail);
    socket.on('close', () => {
      fail(new Error('the server closed the connection'));
    });
  }

  static async open(port: number): Promise<HttpLine> {
    const socket = connect({ port, host: '127.0.0.1', noDelay: true });
    await once(socket, 'connect');
    return new HttpLine(socket);
  }

  /** Sends a head and the pieces of a body; the answer's status and the length of its body. */
  async ask(head: string, body: Iterable<Uint8Array>): Promise<{ readonly status: number; readonly length: number }> {
    const answer = new Promise<Arrival>((resolve, reject) => {
      this.#settle = { resolve, reject };
    });
    // Whoever sends may fail first.
    answer.catch(() => undefined);
    this.#arrival = { status: 0, left: -1, bodyLength: 0 };
    this.#head = Buffer.alloc(0);
    await this.#send(head, body);
    const { status, bodyLength } = await answer;
    return { status, length: bodyLength };
  }

  close(): void {
    this.#settle = undefined;
    this.#socket.destroy();
  }

  async #send(head: string, body: Iterable<Uint8Array>): Promise<void> {
    this.#socket.cork();
    this.#socket.write(head, 'latin1');
    let corked = true;
    for (const piece of body) {
      const taken = this.#socket.write(piece);
      if (corked) this.#socket.uncork();
      corked = false;
      if (!taken && this.#socket.writableNeedDrain) await once(this.#socket, 'drain');
    }
    if (corked) this.#socket.uncork();
  }

  #take(piece: Buffer): void {
    const arrival = this.#arrival;
    if (arrival === undefined) {
      this.#settle?.reject(new Error('the server sent what nobody asked for'));
      return;
    }
    if (arrival.left >= 0) {
      this.#count(arrival, piece.length);
      return;
    }
    const head = this.#head.length === 0 ? piece : Buffer.concat([this.#head, piece]);
    const end = head.indexOf(headEnd);
    if (end < 0) {
      this.#head = head;
      return;
    }
    const text = head.toString('latin1', 0, end);
    arrival.status = Number(text.slice(9, 12));
    arrival.bodyLength = arrival.status === noContent ? 0 : lengthIn(text);
    arrival.left = arrival.bodyLength;
    this.#count(arrival, head.length - end - headEnd.length);
  }

  #count(arrival: Arrival, length: number): void {
    arrival.left -= length;
    if (arrival.left > 0) return;
    const settle = this.#settle;
    this.#settle = undefined;
    this.#arrival = undefined;
    if (arrival.left < 0) settle?.reject(new Error('the answer is longer than its head says'));
    else settle?.resolve(arrival);
  }
}

const noContent = 204;

function lengthIn(head: string): number {
  const found = /\r\ncontent-length: *(\d+)/i.exec(head)?.[1];
  if (found === undefined) throw new Error(`an answer without Content-Length:\n${head}`);
  return Number(found);
}
