// Answers GET and HEAD for anything that is bytes: conditions, one range, several ranges or all of it.

import { hash } from 'node:crypto';

import type { FastifyReply, FastifyRequest } from 'fastify';

import { present } from '../base/assert.ts';
import type { ByteSpan } from '../base/byte-span.ts';
import { Fault } from '../base/fault.ts';
import { MiB } from '../base/units.ts';
import { parseRange, printContentRange, resolveRange } from './byte-range.ts';
import type { RangePart } from './byte-range.ts';
import { judgeRead, rangeCounts } from './conditional.ts';
import type { Conditions, ContentState } from './conditional.ts';
import { printContentDigest, wantsSha256 } from './content-digest.ts';
import { digestContent, digestedContent, digestLengthMax } from './digested-content.ts';
import { sendBytes, sendChunks } from './response-stream.ts';
import { wholeLengthMax } from './whole-answer.ts';
import type { ByteAnswer } from './whole-answer.ts';

/** What is served: its length, its state, and its bytes when they are asked for. */
export interface ByteSource {
  /** In bytes, as far as is known now. */
  readonly size: number;
  readonly generation: number;
  /** The strong entity tag of a generation, with its quotes. */
  readonly etagOf: (generation: number) => string;
  /**
   * At most {@link answerLengthMax} bytes, with the generation that they belong to. Faults `range-not-satisfiable` when
   * there are fewer by now; `size` tells then how many. Whoever can sum them while it reads brings their SHA-256 in
   * base64 where `digest` asks for it.
   */
  readonly read: (span: ByteSpan, options?: { readonly digest: boolean }) => Promise<ReadBytes>;
  readonly chunks: (span: ByteSpan) => AsyncIterable<Uint8Array>;
  /** Told of bytes that nobody needs any more, so that other bytes may have their buffer. */
  readonly recycle: (bytes: Uint8Array) => void;
}

export interface ReadBytes {
  readonly bytes: Uint8Array;
  readonly generation: number;
  readonly sha256?: string;
}

interface ByteState extends ContentState {
  readonly facts: { readonly generation: number };
}

/** An answer that is not longer leaves as one buffer; longer ones as a stream. In bytes. */
const answerLengthMax = 1 * MiB;

/** The Range that counts for a request; a HEAD has none. */
export function rangeOf(request: FastifyRequest): readonly RangePart[] | undefined {
  return request.method === 'GET' ? parseRange(request.headers.range) : undefined;
}

/** Whether the answer to such a Range fits into one buffer, whatever the size of the content. */
export function isShort(range: readonly RangePart[] | undefined): boolean {
  return range !== undefined && range.every((part) => lengthOf(part) <= answerLengthMax / range.length);
}

/**
 * Sends the bytes that a request asks for, or 304. Headers that are already set stay; `content-type` should be one of
 * them. Faults `precondition-failed`, `range-not-satisfiable`.
 */
export async function answerBytes(
  request: FastifyRequest,
  reply: FastifyReply,
  options: {
    readonly source: ByteSource;
    readonly conditions: Conditions;
    readonly range: readonly RangePart[] | undefined;
  },
): Promise<FastifyReply> {
  const { source, conditions, range } = options;
  let state = stateOf(source, source.generation);
  for (let attempt = 0; ; attempt += 1) {
    const { size } = source;
    if (judgeRead(conditions, state) === 'not-modified') return describe(reply, state).code(304).send();
    const spans = range !== undefined && rangeCounts(conditions, state) ? resolveRange(range, size) : [];
    if (request.method === 'HEAD') return describe(reply, state).header('content-length', size).send();
    if (spans.length > 1) return sendParts(request, describe(reply, state), { source, spans });
    const [span] = spans;
    const wanted = span ?? { offset: 0, length: size };
    const place = span === undefined ? wholePlace : placeOf(span, size);
    const digested = wantsSha256(request.headers['want-content-digest']);
    if (wanted.length === 0 || wanted.length > answerLengthMax) {
      void describe(reply, state).code(place.status).headers(place.headers);
      const isSummed = digested && wanted.length <= digestLengthMax && attempt <= rereadsMax;
      const { generation } = state.facts;
      const changedTo = await sendLong(reply, { source, wanted, generation: isSummed ? generation : undefined });
      if (changedTo === undefined) return reply;
      // Content that never stands still goes out without a digest.
      state = stateOf(source, changedTo);
      void reply.removeHeader('content-range');
      continue;
    }
    let read: ReadBytes;
    try {
      read = await source.read(wanted, { digest: digested });
    } catch (error) {
      if (!isResized(error, source, size)) throw error;
      continue;
    }
    const { generation } = read;
    // A change came between the judgement and the bytes: the client must not get them under the old tag.
    if (generation !== state.facts.generation) {
      state = stateOf(source, generation);
      if (attempt < rereadsMax) continue;
    }
    sendBytes(reply, byteAnswerOf(read, { state, place, digested }), (sent) => source.recycle(sent));
    return reply;
  }
}

/**
 * The answer to a request for one range of at most {@link wholeLengthMax} bytes; undefined where it comes to anything else, or
 * the content has changed meanwhile. Faults as {@link answerBytes}.
 */
export async function shortAnswerOf(
  source: ByteSource,
  wish: { readonly conditions: Conditions; readonly range: readonly RangePart[]; readonly digested: boolean },
): Promise<ByteAnswer | undefined> {
  const { conditions, digested } = wish;
  const { size } = source;
  const state = stateOf(source, source.generation);
  if (judgeRead(conditions, state) === 'not-modified' || !rangeCounts(conditions, state)) return undefined;
  const [span, next] = resolveRange(wish.range, size);
  if (span === undefined || next !== undefined || span.length > wholeLengthMax) return undefined;
  const read = await source.read(span, { digest: digested }).catch((error: unknown) => {
    if (!isResized(error, source, size)) throw error;
    return undefined;
  });
  if (read?.generation !== state.facts.generation) return undefined;
  return byteAnswerOf(read, { state, place: placeOf(span, size), digested });
}

/**
 * After one more reading the state is newer than any that a client can know: conditions cannot be met by accident any
 * more, so the bytes just read are right under the tag they belong to.
 */
const rereadsMax = 2;

/** Whether the span was inside `size`, but the content is shorter or longer by now: it is to be resolved again. */
function isResized(error: unknown, source: ByteSource, size: number): boolean {
  return error instanceof Fault && error.code === 'range-not-satisfiable' && source.size !== size;
}

function lengthOf(part: RangePart): number {
  if (part.kind === 'suffix') return part.length;
  return part.last === undefined ? Infinity : part.last - part.first + 1;
}

function stateOf(source: ByteSource, generation: number): ByteState {
  return { etag: source.etagOf(generation), facts: { generation } };
}

function describe(reply: FastifyReply, { etag, facts }: ByteState): FastifyReply {
  return reply.header('accept-ranges', 'bytes').header('etag', etag).header('image-generation', facts.generation);
}

/** Which of the content an answer is. */
interface Place {
  readonly status: number;
  readonly headers: { readonly 'content-range'?: string };
}

/** All of it. */
const wholePlace: Place = { status: 200, headers: {} };

function placeOf(span: ByteSpan, size: number): Place {
  return { status: 206, headers: { 'content-range': printContentRange(span, size) } };
}

function byteAnswerOf(
  { bytes, generation, sha256 }: ReadBytes,
  { state, place, digested }: { readonly state: ByteState; readonly place: Place; readonly digested: boolean },
): ByteAnswer {
  const { status } = place;
  const { etag } = state;
  const range = place.headers['content-range'];
  const facts =
    range === undefined
      ? { 'accept-ranges': 'bytes', etag, 'image-generation': generation }
      : { 'accept-ranges': 'bytes', etag, 'image-generation': generation, 'content-range': range };
  if (!digested) return { status, headers: facts, bytes };
  return { status, headers: { ...facts, 'content-digest': printContentDigest(sha256 ?? sha256Of(bytes)) }, bytes };
}

/** Sends content as a stream, with a generation behind its digest; if it has changed then, nothing: its new generation. */
async function sendLong(
  reply: FastifyReply,
  options: { readonly source: ByteSource; readonly wanted: ByteSpan; readonly generation: number | undefined },
): Promise<number | undefined> {
  const { source, wanted, generation } = options;
  if (generation !== undefined && wanted.length > 0) return sendDigested(reply, { source, wanted, generation });
  void reply.header('content-length', wanted.length);
  await sendChunks(reply, source.chunks(wanted), { onSent: (chunk) => source.recycle(chunk) });
  return undefined;
}

/** Sends the content behind its digest, or nothing when it has changed meanwhile: then the new generation. */
async function sendDigested(
  reply: FastifyReply,
  options: { readonly source: ByteSource; readonly wanted: ByteSpan; readonly generation: number },
): Promise<number | undefined> {
  const { source, wanted, generation } = options;
  const reading = { generation, pieceLength: answerLengthMax };
  const outcome = await digestContent(source, wanted, reading);
  if ('changedTo' in outcome) return outcome.changedTo;
  void reply.header('content-length', wanted.length).header('content-digest', printContentDigest(outcome.sha256));
  await sendChunks(reply, digestedContent(source, wanted, reading), { onSent: (chunk) => source.recycle(chunk) });
  return undefined;
}

/** At once, without an object for each answer. */
function sha256Of(bytes: Uint8Array): string {
  return hash('sha256', bytes, 'base64');
}

/** multipart/byteranges: each part has its own head, the answer has the exact length of all. */
async function sendParts(
  request: FastifyRequest,
  reply: FastifyReply,
  options: { readonly source: ByteSource; readonly spans: readonly ByteSpan[] },
): Promise<FastifyReply> {
  const { source, spans } = options;
  const boundary = `qcowd-${Buffer.from(request.id).toString('hex').slice(0, boundaryLengthMax)}`;
  const type = String(present(reply.getHeader('content-type'), 'bytes have a type'));
  const parts = spans.map((span) => ({ span, head: partHead({ span, size: source.size, boundary, type }) }));
  const tail = Buffer.from(`\r\n--${boundary}--\r\n`);
  const length = parts.reduce((sum, { span, head }) => sum + head.length + span.length, tail.length);
  void reply.code(206).header('content-length', length);
  void reply.header('content-type', `multipart/byteranges; boundary=${boundary}`);
  await sendChunks(
    reply,
    (async function* all() {
      for (const { span, head } of parts) {
        yield head;
        yield* source.chunks(span);
      }
      yield tail;
    })(),
    { onSent: undefined },
  );
  return reply;
}

/** RFC 2046 allows 70 characters. */
const boundaryLengthMax = 60;

function partHead(part: {
  readonly span: ByteSpan;
  readonly size: number;
  readonly boundary: string;
  readonly type: string;
}): Buffer {
  const range = printContentRange(part.span, part.size);
  return Buffer.from(`\r\n--${part.boundary}\r\nContent-Type: ${part.type}\r\nContent-Range: ${range}\r\n\r\n`);
}
