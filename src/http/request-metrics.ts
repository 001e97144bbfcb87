// Counts requests and bytes, so cheaply that data requests are counted too.

import type { Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

import { single } from './prometheus.ts';
import type { MetricFamily, MetricSample } from './prometheus.ts';

interface OperationFigures {
  readonly answers: Map<number, number>;
  /** How many answers took at most each of {@link boundsMs}, and longer than the bound before. */
  readonly buckets: number[];
  sumMs: number;
}

const boundsMs = [1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 60_000] as const;
const msPerSecond = 1_000;

/** When something began, by which clock; left out, now. */
interface Timing {
  readonly clock: () => number;
  readonly beganAt?: number | undefined;
}

export class RequestMetrics {
  readonly #operations = new Map<string, OperationFigures>();
  readonly #sockets = new Set<Socket>();
  #receivedByClosed = 0;
  #sentByClosed = 0;

  /** Follows every connection of a server, with the bytes that cross it. */
  watch(server: Server, event: 'connection' | 'secureConnection'): void {
    server.on(event, (socket: Socket) => {
      this.#sockets.add(socket);
      socket.once('close', () => {
        this.#sockets.delete(socket);
        this.#receivedByClosed += socket.bytesRead;
        this.#sentByClosed += socket.bytesWritten;
      });
    });
  }

  /**
   * Counts an answer when it has left, timed by a clock in milliseconds that only go on. By a listener of its own: Fastify's
   * hook for it would bring two more, and take them away again.
   */
  follow(answer: ServerResponse, operation: string, { clock, beganAt = clock() }: Timing): void {
    answer.on('finish', () => {
      this.count(operation, { status: answer.statusCode, ms: clock() - beganAt });
    });
  }

  /** One request was answered, or its client has gone. */
  count(operation: string, answer: { readonly status: number; readonly ms: number }): void {
    const figures = this.#figuresOf(operation);
    figures.answers.set(answer.status, (figures.answers.get(answer.status) ?? 0) + 1);
    figures.sumMs += answer.ms;
    const bucket = boundsMs.findIndex((bound) => answer.ms <= bound);
    const index = bucket < 0 ? boundsMs.length : bucket;
    figures.buckets[index] = (figures.buckets[index] ?? 0) + 1;
  }

  families(): readonly MetricFamily[] {
    const sockets = [...this.#sockets];
    const received = sockets.reduce((sum, { bytesRead }) => sum + bytesRead, this.#receivedByClosed);
    const sent = sockets.reduce((sum, { bytesWritten }) => sum + bytesWritten, this.#sentByClosed);
    const operations = [...this.#operations].toSorted(([one], [other]) => (one < other ? -1 : 1));
    return [
      {
        name: 'qcowd_http_requests_total',
        help: 'Requests by operation and status.',
        type: 'counter',
        samples: operations.flatMap(([operation, { answers }]) =>
          [...answers].map(([status, value]) => ({ suffix: '', labels: { operation, status: String(status) }, value })),
        ),
      },
      {
        name: 'qcowd_http_request_duration_seconds',
        help: 'From the request line to the last byte of the answer.',
        type: 'histogram',
        samples: operations.flatMap(([operation, figures]) => histogramOf(operation, figures)),
      },
      single(
        { name: 'qcowd_http_received_bytes_total', help: 'Bytes that came in, headers too.', type: 'counter' },
        received,
      ),
      single({ name: 'qcowd_http_sent_bytes_total', help: 'Bytes that went out, headers too.', type: 'counter' }, sent),
      single({ name: 'qcowd_http_connections', help: 'Open connections.', type: 'gauge' }, sockets.length),
    ];
  }

  #figuresOf(operation: string): OperationFigures {
    const known = this.#operations.get(operation);
    if (known !== undefined) return known;
    const made = { answers: new Map<number, number>(), buckets: [], sumMs: 0 };
    this.#operations.set(operation, made);
    return made;
  }
}

function histogramOf(operation: string, { buckets, sumMs }: OperationFigures): readonly MetricSample[] {
  let count = 0;
  const samples = [...boundsMs, Infinity].map((bound, index): MetricSample => {
    count += buckets[index] ?? 0;
    const le = bound === Infinity ? '+Inf' : String(bound / msPerSecond);
    return { suffix: '_bucket', labels: { operation, le }, value: count };
  });
  return [
    ...samples,
    { suffix: '_sum', labels: { operation }, value: sumMs / msPerSecond },
    { suffix: '_count', labels: { operation }, value: count },
  ];
}
