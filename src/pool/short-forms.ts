// How requests and answers cross over to a thread and back: what comes by the thousand, reads of an open image and their
// bytes, as short lists, all else as it is. A clone of a list takes half the time of one of objects in each other.

import type { Answer, Message } from './messages.ts';

/** Id, image, offset and length of a read that brings nothing along, and waits no longer than others. */
type ShortRead = readonly [number, number, number, number];

/** Id, bytes and generation of a result that is nothing else. */
type ShortResult = readonly [number, Uint8Array, number];

/** A message on its way to a thread. */
export type SentMessage = Message | ShortRead;

/** An answer on its way back. */
export type SentAnswer = Answer | ShortResult;

export function shortMessage(message: Message): SentMessage {
  const { id, body } = message;
  if (body.kind !== 'call' || body.call.name !== 'read') return message;
  const { offset, length, digest } = body.call.args;
  const brings = body.into !== undefined || body.epoch !== undefined || body.keys !== undefined;
  return brings || body.patient === true || digest === true ? message : [id, body.image, offset, length];
}

export function fullMessage(sent: SentMessage): Message {
  if (!isList(sent)) return sent;
  const [id, image, offset, length] = sent;
  const call = { name: 'read', args: { offset, length } } as const;
  return { id, body: { kind: 'call', image, call, into: undefined, epoch: undefined, keys: undefined } };
}

export function shortAnswer(answer: Answer): SentAnswer {
  if (answer.kind !== 'result' || !isBytesOfGeneration(answer.result)) return answer;
  return [answer.id, answer.result.bytes, answer.result.generation];
}

export function fullAnswer(sent: SentAnswer): Answer {
  if (!isList(sent)) return sent;
  const [id, bytes, generation] = sent;
  return { kind: 'result', id, result: { bytes, generation } };
}

function isList<List extends readonly unknown[]>(sent: List | object): sent is List {
  return Array.isArray(sent);
}

interface BytesOfGeneration {
  readonly bytes: Uint8Array;
  readonly generation: number;
}

/** Whether a result has these two members and no other. */
function isBytesOfGeneration(result: unknown): result is BytesOfGeneration {
  if (typeof result !== 'object' || result === null || !('bytes' in result && 'generation' in result)) return false;
  return Object.keys(result).length === 2;
}
