// How requests and answers cross over to a thread and back: what comes by the thousand, reads of an open image and their
// bytes, as short lists, all else as it is. A clone of a list takes half the time of one of objects in each other.

import type { Answer, Message } from './messages.ts';

/** Id, image, offset and length of a read that brings nothing along, and waits no longer than others; and whether it sums. */
type ShortRead = readonly [number, number, number, number, true?];

/** Id, bytes and generation of a result that is nothing else, or has their SHA-256 besides. */
type ShortResult = readonly [number, Uint8Array, number, string?];

/** A message on its way to a thread. */
export type SentMessage = Message | ShortRead;

/** An answer on its way back. */
export type SentAnswer = Answer | ShortResult;

export function shortMessage(message: Message): SentMessage {
  const { id, body } = message;
  if (body.kind !== 'call' || body.call.name !== 'read') return message;
  const { offset, length, digest } = body.call.args;
  const brings = body.into !== undefined || body.epoch !== undefined || body.keys !== undefined;
  if (brings || body.patient === true) return message;
  return digest === true ? [id, body.image, offset, length, digest] : [id, body.image, offset, length];
}

export function fullMessage(sent: SentMessage): Message {
  if (!isList(sent)) return sent;
  const [id, image, offset, length, digest] = sent;
  const args = digest === true ? { offset, length, digest } : { offset, length };
  const call = { name: 'read', args } as const;
  return { id, body: { kind: 'call', image, call, into: undefined, epoch: undefined, keys: undefined } };
}

export function shortAnswer(answer: Answer): SentAnswer {
  if (answer.kind !== 'result' || !isBytesOfGeneration(answer.result)) return answer;
  const { bytes, generation, sha256 } = answer.result;
  return sha256 === undefined ? [answer.id, bytes, generation] : [answer.id, bytes, generation, sha256];
}

export function fullAnswer(sent: SentAnswer): Answer {
  if (!isList(sent)) return sent;
  const [id, bytes, generation, sha256] = sent;
  return { kind: 'result', id, result: sha256 === undefined ? { bytes, generation } : { bytes, generation, sha256 } };
}

function isList<List extends readonly unknown[]>(sent: List | object): sent is List {
  return Array.isArray(sent);
}

interface BytesOfGeneration {
  readonly bytes: Uint8Array;
  readonly generation: number;
  readonly sha256?: string;
}

/** Whether a result has these members and no other. */
function isBytesOfGeneration(result: unknown): result is BytesOfGeneration {
  if (typeof result !== 'object' || result === null || !('bytes' in result && 'generation' in result)) return false;
  return Object.keys(result).length === ('sha256' in result ? 3 : 2);
}
