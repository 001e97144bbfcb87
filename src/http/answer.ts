// An answer as a value: what is sent, kept for a replay, or becomes the result of a job.

import type { FastifyReply } from 'fastify';

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  /** What JSON is made of; undefined for an answer without a body. */
  readonly body: unknown;
}

export function sendAnswer(reply: FastifyReply, answer: Answer): FastifyReply {
  void reply.code(answer.status).headers(answer.headers);
  return answer.body === undefined ? reply.send() : reply.send(answer.body);
}
