// An AbortSignal that says: the client has gone.

import type { FastifyReply } from 'fastify';

/** The reason of a signal, and the error of a body, when the connection ended before the answer. Nobody reads it. */
export class ClientGone extends Error {
  override readonly name = 'ClientGone';

  constructor() {
    super('the client has closed the connection');
  }
}

/** Aborted when the connection closes before the answer is complete. */
export function signalOf(reply: FastifyReply): AbortSignal {
  const controller = new AbortController();
  reply.raw.once('close', () => {
    if (!reply.raw.writableFinished) controller.abort(new ClientGone());
  });
  return controller.signal;
}
