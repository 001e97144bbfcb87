// Reads a JSON body: bounded, admitted only when its announced length is, and an empty one is none.

import type { IncomingMessage } from 'node:http';

import { Fault } from '../base/fault.ts';
import { MiB } from '../base/units.ts';
import { bodyLengthOf, bodyOf, bodyPatience } from './request-body.ts';

/** How long a JSON body may be, in bytes. */
export const jsonLengthMax = 1 * MiB;

/** The parsed body, or undefined when it is empty. Faults `content-too-large`, `invalid-request`. */
export async function readJson(request: IncomingMessage): Promise<unknown> {
  const announced = bodyLengthOf(request) ?? 0;
  if (announced > jsonLengthMax) throw new Fault('content-too-large', { lengthMax: jsonLengthMax });
  const pieces: Uint8Array[] = [];
  let length = 0;
  for await (const piece of bodyOf(request, bodyPatience)) {
    length += piece.length;
    if (length > jsonLengthMax) throw new Fault('content-too-large', { lengthMax: jsonLengthMax });
    pieces.push(piece);
  }
  const text = Buffer.concat(pieces).toString('utf8');
  return text.trim() === '' ? undefined : parseJson(text);
}

/** `curl -d ''` calls nothing at all a form. Fault `unsupported-media-type` for a form with something in it. */
export async function readNoForm(request: IncomingMessage): Promise<undefined> {
  if (bodyLengthOf(request) !== 0) throw new Fault('unsupported-media-type', {});
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text, refusePrototype);
  } catch (error) {
    if (error instanceof Fault) throw error;
    const message = `is not JSON (${error instanceof Error ? error.message : String(error)})`;
    throw new Fault('invalid-request', { errors: [{ pointer: '', in: 'body', message }] });
  }
}

/** A member of this name would reach for the prototype of whatever it is merged into. */
function refusePrototype(key: string, value: unknown): unknown {
  if (key !== '__proto__') return value;
  throw new Fault('invalid-request', {
    errors: [{ pointer: '/__proto__', in: 'body', message: 'a member of this name is not taken' }],
  });
}
