// Sends bytes past Fastify's own way of sending, which looks for much that bytes never are: all at once, or in chunks as
// fast as the client takes them, where the next one is asked for when the last one has left.

import type { FastifyReply } from 'fastify';

import { ClientGone } from './disconnect.ts';
import { wholeAnswersOf } from './whole-answer.ts';
import type { ByteAnswer } from './whole-answer.ts';

/** How long a client may take nothing before its connection is cut, in milliseconds. */
const stallMsMax = 120_000;

/** Sends the head that `reply` holds and an answer; `onSent` is told of its bytes when the system has taken them over. */
export function sendBytes(reply: FastifyReply, answer: ByteAnswer, onSent: (bytes: Uint8Array) => void): void {
  const { raw } = reply;
  const { status, headers, bytes } = answer;
  if (wholeAnswersOf(reply).send(raw, reply.getHeaders(), answer)) {
    reply.hijack();
    onSent(bytes);
    return;
  }
  void reply.code(status).headers(headers).header('content-length', bytes.length);
  raw.writeHead(reply.statusCode, reply.getHeaders() as Record<string, string>);
  reply.hijack();
  raw.once('finish', () => onSent(bytes));
  raw.end(bytes);
}

/**
 * Sends the head that `reply` holds and then all chunks. The first chunk is fetched before the head goes out, so that
 * its failure is still a problem; after a later one the connection is destroyed, and the client sees a short answer.
 * `onSent` is told of each chunk that the system has taken over.
 */
export async function sendChunks(
  reply: FastifyReply,
  chunks: AsyncIterable<Uint8Array>,
  options: { readonly onSent: ((chunk: Uint8Array) => void) | undefined },
): Promise<void> {
  const { onSent } = options;
  const iterator = chunks[Symbol.asyncIterator]();
  let next = await iterator.next();
  const headers = reply.getHeaders();
  reply.hijack();
  try {
    reply.raw.writeHead(reply.statusCode, headers as Record<string, string>);
    while (next.done !== true) {
      const chunk = next.value;
      if (!reply.raw.write(chunk, onSent && (() => onSent(chunk)))) await drained(reply);
      next = await iterator.next();
    }
    reply.raw.end();
  } catch (error) {
    if (!(error instanceof ClientGone))
      reply.log.warn({ requestId: reply.request.id, err: error }, 'an answer was cut off');
    reply.raw.destroy();
  } finally {
    await iterator.return?.();
  }
}

/** Until the client has taken what was sent; throws {@link ClientGone} when it goes or stalls. */
async function drained({ raw }: FastifyReply): Promise<void> {
  if (raw.destroyed) throw new ClientGone();
  await new Promise<void>((resolve, reject) => {
    const settle = (end: () => void): void => {
      clearTimeout(watchdog);
      raw.off('drain', onDrain);
      raw.off('close', onClose);
      end();
    };
    const onDrain = (): void => {
      settle(resolve);
    };
    const onClose = (): void => {
      settle(() => {
        reject(new ClientGone());
      });
    };
    const watchdog = setTimeout(onClose, stallMsMax);
    raw.on('drain', onDrain);
    raw.on('close', onClose);
  });
}
