// What of an answer is handed over instead of copied.

import type { Answer } from './messages.ts';

/** The buffer of an answer that brings bytes: it was made for this answer alone. */
export function bufferOf(answer: Answer): ArrayBuffer | undefined {
  if (answer.kind === 'need') return answer.task.bytes.buffer;
  if (answer.kind !== 'result') return undefined;
  const { result } = answer;
  if (typeof result !== 'object' || result === null || !('bytes' in result)) return undefined;
  return result.bytes instanceof Uint8Array && result.bytes.buffer instanceof ArrayBuffer
    ? result.bytes.buffer
    : undefined;
}
