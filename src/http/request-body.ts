// A request's body as it comes in: nothing is taken, and no 100 Continue is sent, before somebody asks for the first piece.

import type { IncomingMessage, ServerResponse } from 'node:http';

import { Fault } from '../base/fault.ts';
import { KiB } from '../base/units.ts';
import { ClientGone } from './disconnect.ts';

/** How slow a client may be. */
export interface BodyPatience {
  /** How long the client may take for {@link lengthMin} more bytes, or for the rest, in milliseconds. */
  readonly idleMsMax: number;
  /** In bytes: whoever sends one now and then, to hold on to what a body takes, does not get through with it. */
  readonly lengthMin: number;
}

export const bodyPatience: BodyPatience = { idleMsMax: 60_000, lengthMin: 4 * KiB };

/** Requests whose client waits for 100 Continue, with the response that will say it. */
const waiting = new WeakMap<IncomingMessage, ServerResponse>();

/** Notes that the client sends its body only after 100 Continue. */
export function holdContinue(request: IncomingMessage, response: ServerResponse): void {
  waiting.set(request, response);
}

/** Whether the client still waits for 100 Continue. */
export function awaitsContinue(request: IncomingMessage): boolean {
  return waiting.has(request);
}

/** Whether bytes of the body may still be on their way, or lie here unread. */
export function hasUnreadBody(request: IncomingMessage): boolean {
  return declaresBody(request) && !request.readableEnded;
}

/** The length that the headers announce; undefined for a chunked body. */
export function bodyLengthOf(request: IncomingMessage): number | undefined {
  if (request.headers['transfer-encoding'] !== undefined) return undefined;
  return Number(request.headers['content-length'] ?? 0);
}

/**
 * The body, piece by piece as the socket brings it; can be walked once. Ends only when all of it has come: throws
 * {@link ClientGone} when the connection breaks, and faults `request-timeout` for a client that is too slow; the time
 * that the caller takes is not the client's. Leaving early leaves the connection usable for the answer.
 */
export async function* bodyOf(
  request: IncomingMessage,
  { idleMsMax, lengthMin }: BodyPatience,
): AsyncGenerator<Uint8Array, void, void> {
  waiting.get(request)?.writeContinue();
  waiting.delete(request);
  const state = { waits: false, idle: false, wake: (): void => undefined };
  const onEvent = (): void => state.wake();
  const watchdog = setTimeout(() => {
    if (!state.waits) {
      watchdog.refresh();
      return;
    }
    state.idle = true;
    state.wake();
  }, idleMsMax);
  let sinceRefresh = 0;
  for (const event of bodyEvents) request.on(event, onEvent);
  try {
    for (;;) {
      const piece = request.read() as Buffer | null;
      if (piece !== null) {
        sinceRefresh += piece.length;
        yield piece;
        if (sinceRefresh >= lengthMin) {
          sinceRefresh = 0;
          watchdog.refresh();
        }
        continue;
      }
      if (request.readableEnded) return;
      if (request.destroyed) throw new ClientGone();
      if (state.idle) throw new Fault('request-timeout', {});
      state.waits = true;
      await new Promise<void>((resolve) => {
        state.wake = resolve;
      });
      state.waits = false;
    }
  } finally {
    clearTimeout(watchdog);
    for (const event of bodyEvents) request.off(event, onEvent);
  }
}

const bodyEvents = ['readable', 'end', 'error', 'close'] as const;

function declaresBody(request: IncomingMessage): boolean {
  return bodyLengthOf(request) !== 0;
}
