// ETag and the conditions that name it: If-Match, If-None-Match, If-Range (RFC 9110 §13).

import type { IncomingHttpHeaders } from 'node:http';

import { Fault } from '../base/fault.ts';

/** What a request wants the content to be. */
export interface Conditions {
  readonly ifMatch: string | undefined;
  readonly ifNoneMatch: string | undefined;
  readonly ifRange: string | undefined;
  /** The generation that the client has seen, from the query. */
  readonly generation: number | undefined;
}

/** The content as it is. */
export interface ContentState {
  /** A strong entity tag with its quotes. */
  readonly etag: string;
  /** What a client is told when it meant another state: the generation, or the version. */
  readonly facts: { readonly generation?: number; readonly version?: number };
}

export function conditionsOf(
  headers: IncomingHttpHeaders,
  options: { readonly generation: number | undefined },
): Conditions {
  const ifRange = headers['if-range'];
  return {
    ifMatch: headers['if-match'],
    ifNoneMatch: headers['if-none-match'],
    ifRange: Array.isArray(ifRange) ? undefined : ifRange,
    generation: options.generation,
  };
}

/** For GET and HEAD: whether the client has the content already. Faults `precondition-failed`. */
export function judgeRead(conditions: Conditions, state: ContentState): 'send' | 'not-modified' {
  requireMatch(conditions, state);
  const { ifNoneMatch } = conditions;
  if (ifNoneMatch === undefined) return 'send';
  return namesWeakly(ifNoneMatch, state.etag) ? 'not-modified' : 'send';
}

/** For changes. Faults `precondition-failed`. */
export function judgeChange(conditions: Conditions, state: ContentState): void {
  requireMatch(conditions, state);
  const { ifNoneMatch } = conditions;
  if (ifNoneMatch !== undefined && namesWeakly(ifNoneMatch, state.etag)) {
    throw new Fault('precondition-failed', state.facts);
  }
}

/** The generations that If-Match, If-None-Match and `generation` name. */
export interface NamedGenerations {
  /** One of these is wanted; undefined when any is. */
  readonly oneOf: readonly number[] | undefined;
  readonly noneOf: readonly number[];
}

/**
 * What a request wants the generation to be, for whoever judges later than here; undefined when it wants nothing.
 * `generationOf` reads a strong tag, and knows only those of the content in question.
 */
export function namedGenerations(
  conditions: Conditions,
  generationOf: (tag: string) => number | undefined,
): NamedGenerations | undefined {
  const { ifMatch, ifNoneMatch, generation } = conditions;
  const named = (header: string): readonly number[] =>
    tagsOf(header)
      .map(generationOf)
      .filter((found) => found !== undefined);
  const matching = ifMatch === undefined || ifMatch.trim() === '*' ? undefined : named(ifMatch);
  const asked = generation === undefined ? undefined : [generation];
  const oneOf = matching === undefined ? asked : matching.filter((each) => asked?.includes(each) ?? true);
  const noneOf = ifNoneMatch === undefined ? [] : named(ifNoneMatch.replaceAll('W/"', '"'));
  return oneOf === undefined && noneOf.length === 0 ? undefined : { oneOf, noneOf };
}

/** Whether the Range of a request counts. */
export function rangeCounts(conditions: Conditions, state: ContentState): boolean {
  return conditions.ifRange === undefined || conditions.ifRange.trim() === state.etag;
}

function requireMatch(conditions: Conditions, state: ContentState): void {
  const { ifMatch, generation } = conditions;
  const matched = ifMatch === undefined || namesStrongly(ifMatch, state.etag);
  const known = generation === undefined || generation === state.facts.generation;
  if (!matched || !known) throw new Fault('precondition-failed', state.facts);
}

function namesStrongly(header: string, etag: string): boolean {
  return header.trim() === '*' || tagsOf(header).includes(etag);
}

/** Weak comparison: `W/"x"` names `"x"` too. */
function namesWeakly(header: string, etag: string): boolean {
  return header.trim() === '*' || tagsOf(header).some((tag) => (tag.startsWith('W/') ? tag.slice(2) : tag) === etag);
}

/** Mostly there is one strong tag, and it is known at a glance. */
function tagsOf(header: string): readonly string[] {
  const isOne = header.startsWith('"') && header.indexOf('"', 1) === header.length - 1;
  if (isOne) return [header];
  return header.match(/(?:W\/)?"[^"]*"/g) ?? [];
}
