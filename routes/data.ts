// Guest bytes: read, write, zero, discard, flush. The read route is lean: it parses by hand and leaves no log line.

import type { FastifyReply, FastifyRequest } from 'fastify';

import { answerBytes, isShort, rangeOf, shortAnswerOf } from '../src/http/byte-answer.ts';
import type { ByteSource, ReadBytes } from '../src/http/byte-answer.ts';
import { parseContentRange, parseRange } from '../src/http/byte-range.ts';
import type { ContentRange } from '../src/http/byte-range.ts';
import type { ByteSpan } from '../src/base/byte-span.ts';
import { Fault } from '../src/base/fault.ts';
import { conditionsOf, judgeChange, namedGenerations } from '../src/http/conditional.ts';
import { contentDigestOf, wantsSha256 } from '../src/http/content-digest.ts';
import { signalOf } from '../src/http/disconnect.ts';
import type { ExpressLane, ExpressRoute } from '../src/http/express-lane.ts';
import { bodyLengthOf, bodyOf, bodyPatience } from '../src/http/request-body.ts';
import { compileNoValidator, invalidRequest, parseQuery } from '../src/http/schema.ts';
import type { ReadSession, Services, WriteOptions } from '../src/services/services.ts';
import { answerReceipt, dataTag, generationOfTag } from './answers.ts';
import { takeAnyBody } from './byte-bodies.ts';
import { claimOf } from './claims.ts';
import { answerWork, longVerb } from './long-work.ts';
import { passphrasesOf } from './passphrases.ts';
import type { Routes } from './route-parts.ts';
import { ClaimHeaders } from './schemas/leases.ts';
import { ImageParams, isImageKey } from './schemas/common.ts';
import { DiscardSpan, FlushImage, ReadQuery, WriteQuery, ZeroSpan } from './schemas/content.ts';
import { bytesBody, bytesResponses, problemResponse } from './schemas/problem.ts';

export function dataRoutes(services: Services, express: ExpressLane): Routes {
  express.add(shortRead(services));
  return async (app) => {
    await app.register(readAndWrite(services));
    await app.register(changes(services));
  };
}

function readAndWrite(services: Services): Routes {
  return async (app) => {
    takeAnyBody(app);
    app.route({
      method: ['GET', 'HEAD'],
      url: '/images/:image/data',
      validatorCompiler: compileNoValidator,
      schema: {
        operationId: 'readImageData',
        tags: ['data'],
        summary: 'Read guest bytes: all of them, a range, or several',
        params: ImageParams,
        headers: ClaimHeaders,
        querystring: ReadQuery,
        response: { ...bytesResponses(), ...problemResponse() },
      },
      handler: (request, reply) => readData(services, request, reply),
    });

    app.put(
      '/images/:image/data',
      {
        validatorCompiler: compileNoValidator,
        schema: {
          operationId: 'writeImageData',
          tags: ['data'],
          summary: 'Write guest bytes where Content-Range says, or replace them all',
          params: ImageParams,
          headers: ClaimHeaders,
          querystring: WriteQuery,
          body: bytesBody,
          response: {
            204: { description: 'Written; durable unless `flush=false`. `Write-Epoch` says until when' },
            ...problemResponse(),
          },
        },
      },
      async (request, reply) => writeData(services, request, reply),
    );
  };
}

/** The route above for a range of a few bytes, whatever conditions, lease or digest it is asked with. */
function shortRead(services: Services): ExpressRoute {
  return {
    operation: 'readImageData',
    path: /^\/v1\/images\/([A-Za-z0-9._-]+)\/data$/,
    contentType,
    cacheControl,
    answer: async (image, headers) => {
      const range = parseRange(headers.range);
      // A passphrase is worked on for seconds.
      if (range === undefined || !isShort(range) || headers['image-passphrase'] !== undefined) return undefined;
      using session = isImageKey(image) ? services.content.openReadNow(image, claimOf({ headers })) : undefined;
      if (session === undefined) return undefined;
      const conditions = conditionsOf(headers, noQuery);
      const digested = wantsSha256(headers['want-content-digest']);
      return await shortAnswerOf(new LiveBytes(services, session), { conditions, range, digested });
    },
  };
}

const contentType = 'application/octet-stream';
const cacheControl = 'private, no-cache';

async function readData(services: Services, request: FastifyRequest, reply: FastifyReply) {
  const image = imageOf(request);
  const { generation } = queryOf(request);
  const range = rangeOf(request);
  // Nobody listens for the end of a short answer: reading it to the end is cheaper than being ready to stop.
  const signal = isShort(range) ? undefined : signalOf(reply);
  using session = await services.content.openRead(image, {
    snapshot: undefined,
    signal,
    claim: claimOf(request),
    passphrases: passphrasesOf(request),
  });
  void reply.header('content-type', contentType).header('cache-control', cacheControl);
  return await answerBytes(request, reply, {
    source: new LiveBytes(services, session),
    conditions: conditionsOf(request.headers, { generation }),
    range,
  });
}

/** The guest bytes of an image as a source. A class: a literal with a getter is a new hidden class for V8 each time. */
class LiveBytes implements ByteSource {
  readonly #services: Services;
  readonly #session: ReadSession;

  constructor(services: Services, session: ReadSession) {
    this.#services = services;
    this.#session = session;
  }

  get size(): number {
    return this.#session.size;
  }

  get generation(): number {
    return this.#session.generation;
  }

  etagOf(generation: number): string {
    return dataTag(this.#session.imageId, generation);
  }

  read(span: ByteSpan, options?: { readonly digest: boolean }): Promise<ReadBytes> {
    return this.#session.read(span, options);
  }

  chunks(span: ByteSpan): AsyncIterable<Uint8Array> {
    return this.#session.chunks(span);
  }

  recycle(bytes: Uint8Array): void {
    this.#services.content.recycle(bytes);
  }
}

async function writeData(services: Services, request: FastifyRequest, reply: FastifyReply) {
  const image = imageOf(request);
  const query = parseQuery(WriteQuery, request.query);
  const bodyLength = bodyLengthOf(request.raw);
  const target = targetOf(request, bodyLength);
  const sha256 = contentDigestOf(request.headers['content-digest']);
  const conditions = conditionsOf(request.headers, { generation: query.generation });
  using session = await services.content.openWrite(image, {
    signal: signalOf(reply),
    claim: claimOf(request),
    passphrases: passphrasesOf(request),
  });
  const { imageId, generation, size } = session;
  if (target?.size !== undefined && target.size !== size) throw new Fault('invalid-content-range', { size });
  // Now, before a byte of the body is taken; and once more by the thread that writes the first of them.
  judgeChange(conditions, { etag: dataTag(imageId, generation), facts: { generation } });
  const options: WriteOptions = {
    bodyLength,
    flush: query.flush ?? true,
    detectZeroes: query.detectZeroes ?? false,
    compress: query.compress ?? false,
    sha256,
    expected: namedGenerations(conditions, (tag) => generationOfTag(imageId, tag)),
  };
  const body = bodyOf(request.raw, bodyPatience);
  const receipt =
    target === undefined ? await session.replace(body, options) : await session.write(target.span, body, options);
  return await answerReceipt(reply, { imageId, receipt });
}

/** Where the body belongs, or undefined for all of the image. Faults what the headers alone prove wrong. */
function targetOf(request: FastifyRequest, bodyLength: number | undefined): ContentRange | undefined {
  const header = request.headers['content-range'];
  if (header === undefined) return undefined;
  const target = parseContentRange(header);
  const expected = target.span.length;
  if (bodyLength !== undefined && bodyLength !== expected) {
    throw new Fault('content-range-mismatch', { expected, received: bodyLength, written: 0 });
  }
  return target;
}

/** The image that the path names. */
function imageOf(request: FastifyRequest): string {
  const { image } = request.params as { readonly image: string };
  if (isImageKey(image)) return image;
  const message = 'an image is named by its id (img_…) or its name';
  throw invalidRequest({ pointer: '/image', in: 'path', message });
}

function queryOf(request: FastifyRequest): { readonly generation: number | undefined } {
  for (const _key in request.query as object) {
    return { generation: undefined, ...parseQuery(ReadQuery, request.query) };
  }
  return noQuery;
}

const noQuery = { generation: undefined };

function changes(services: Services): Routes {
  return async (app) => {
    app.post(
      '/images/:image/zero',
      {
        schema: {
          operationId: 'zeroImageData',
          tags: ['data'],
          summary: 'Make a span read as zeroes; any alignment',
          ...longVerb({ 204: { description: 'Done; `Write-Epoch` says until when' } }),
          body: ZeroSpan,
        },
      },
      async (request, reply) =>
        answerWork(
          services,
          { request, reply },
          { kind: 'zero', options: request.body, work: (...asked) => services.content.zero(...asked) },
        ),
    );

    app.post(
      '/images/:image/discard',
      {
        schema: {
          operationId: 'discardImageData',
          tags: ['data'],
          summary: 'Give whole clusters inside a span back',
          ...longVerb({ 204: { description: 'Done; `Write-Epoch` says until when' } }),
          body: DiscardSpan,
        },
      },
      async (request, reply) =>
        answerWork(
          services,
          { request, reply },
          { kind: 'discard', options: request.body, work: (...asked) => services.content.discard(...asked) },
        ),
    );

    app.post(
      '/images/:image/flush',
      {
        schema: {
          operationId: 'flushImage',
          tags: ['data'],
          summary: 'Make every change that was answered before durable',
          params: ImageParams,
          headers: ClaimHeaders,
          body: FlushImage.optional(),
          response: { 204: { description: 'Done; `Write-Epoch` says until when' }, ...problemResponse() },
        },
      },
      async (request, reply) => {
        const writeEpoch = request.body?.writeEpoch;
        const receipt = await services.content.flush(request.params.image, { writeEpoch, claim: claimOf(request) });
        return answerReceipt(reply, { imageId: undefined, receipt });
      },
    );
  };
}
