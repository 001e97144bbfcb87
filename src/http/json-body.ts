// Reads a JSON body: bounded, admitted only when its announced length is, and an empty one is none.

import type { IncomingMessage } from 'node:http';

import { Fault } from '../base/fault.ts';
import { MiB } from '../base/units.ts';
import { bodyLengthOf, bodyOf, bodyPatience } from './request-body.ts';
import { invalidRequest, pointerTo } from './schema.ts';

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
  const { value, namesPrototype } = parseNoting(text);
  if (!namesPrototype) return value;
  const pointer = pointerTo(pathOfPrototype(value) ?? []);
  throw invalidRequest({ pointer, in: 'body', message: 'a member of this name is not taken' });
}

function parseNoting(text: string): { readonly value: unknown; readonly namesPrototype: boolean } {
  let namesPrototype = false;
  try {
    const value: unknown = JSON.parse(text, (key, member: unknown) => {
      namesPrototype ||= key === prototypeName;
      return member;
    });
    return { value, namesPrototype };
  } catch (error) {
    const message = `is not JSON (${error instanceof Error ? error.message : String(error)})`;
    throw invalidRequest({ pointer: '', in: 'body', message });
  }
}

/** A member of this name would reach for the prototype of whatever it is merged into. */
const prototypeName = '__proto__';

/** Where the outermost one is. Not recursive: a body may be nested as deeply as it is long. */
function pathOfPrototype(body: unknown): readonly string[] | undefined {
  const places: Place[] = [{ members: body as Members, key: '', parent: undefined }];
  for (const parent of places) {
    for (const [key, value] of Object.entries(parent.members)) {
      const place = { members: value as Members, key, parent };
      if (key === prototypeName) return pathOf(place);
      if (typeof value === 'object' && value !== null) places.push(place);
    }
  }
  return undefined;
}

type Members = Readonly<Record<string, unknown>>;

/** An object or an array in the body. */
interface Place {
  readonly members: Members;
  readonly key: string;
  /** Undefined for the body itself. */
  readonly parent: Place | undefined;
}

function pathOf(place: Place): readonly string[] {
  const path: string[] = [];
  for (let at = place; at.parent !== undefined; at = at.parent) path.push(at.key);
  return path.toReversed();
}
