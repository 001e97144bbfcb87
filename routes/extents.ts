// The map of an image: which stretches hold data, zeroes or nothing; in pages, or as one stream of lines.

import type { FastifyReply, FastifyRequest } from 'fastify';
import type { z } from 'zod';

import { sendChunks } from '../src/http/response-stream.ts';
import { invalidRequest } from '../src/http/schema.ts';
import type { ExtentsOptions, ImageExtents, Services } from '../src/services/services.ts';
import type { Routes } from './route-parts.ts';
import { ImageParams, limitDefault, limitMax, SnapshotParams } from './schemas/common.ts';
import { ExtentPage, ExtentsQuery, printExtent, SnapshotExtentsQuery } from './schemas/content.ts';
import { json, problemResponse } from './schemas/problem.ts';

type Query = z.output<typeof ExtentsQuery>;

export function extentRoutes(services: Services): Routes {
  return async (app) => {
    app.get(
      '/images/:image/extents',
      {
        schema: {
          operationId: 'listExtents',
          tags: ['data'],
          summary: 'The map of the image; `Accept: application/x-ndjson` streams all of it',
          params: ImageParams,
          querystring: ExtentsQuery,
          response: { 200: json('One page', ExtentPage), ...problemResponse() },
        },
      },
      async (request, reply) => {
        const { image } = request.params;
        return answerExtents({ services, image, query: request.query }, request, reply);
      },
    );

    app.get(
      '/images/:image/snapshots/:snapshot/extents',
      {
        schema: {
          operationId: 'listSnapshotExtents',
          tags: ['snapshots'],
          summary: 'The map of a snapshot; `Accept: application/x-ndjson` streams all of it',
          params: SnapshotParams,
          querystring: SnapshotExtentsQuery,
          response: { 200: json('One page', ExtentPage), ...problemResponse() },
        },
      },
      async (request, reply) => {
        const { image, snapshot } = request.params;
        return answerExtents({ services, image, query: { ...request.query, snapshot } }, request, reply);
      },
    );
  };
}

interface Asked {
  readonly services: Services;
  readonly image: string;
  readonly query: Query;
}

async function answerExtents(asked: Asked, request: FastifyRequest, reply: FastifyReply) {
  const { services, image, query } = asked;
  if (request.headers.accept?.includes(linesMediaType) === true) return sendLines(asked, reply);
  const page = await services.content.extents(image, toOptions(query));
  return reply.header('image-generation', page.generation).send({
    virtualSize: page.virtualSize,
    generation: page.generation,
    items: page.items.map(printExtent),
    nextCursor: page.nextOffset === undefined ? null : printCursor(page.nextOffset),
  });
}

const linesMediaType = 'application/x-ndjson';

/** One extent a line, page after page; each page is of one generation. */
async function sendLines({ services, image, query }: Asked, reply: FastifyReply): Promise<FastifyReply> {
  const options = { ...toOptions(query), limit: limitMax };
  const first = await services.content.extents(image, options);
  void reply.header('content-type', linesMediaType).header('image-generation', first.generation);
  const end = options.length === undefined ? undefined : options.offset + options.length;
  await sendChunks(
    reply,
    (async function* lines() {
      for (let page: ImageExtents = first; ;) {
        yield Buffer.from(page.items.map((item) => `${JSON.stringify(printExtent(item))}\n`).join(''));
        const offset = page.nextOffset;
        if (offset === undefined) return;
        const length = end === undefined ? undefined : end - offset;
        page = await services.content.extents(image, { ...options, offset, length });
      }
    })(),
    { onSent: undefined },
  );
  return reply;
}

/** The span of a query, from its cursor on. */
function toOptions(query: Query): ExtentsOptions {
  const start = query.offset ?? 0;
  const offset = query.cursor === undefined ? start : parseCursor(query.cursor);
  const length = query.length === undefined ? undefined : query.length - (offset - start);
  if (offset < start || (length !== undefined && length < 0)) throw badCursor();
  return {
    snapshot: query.snapshot,
    offset,
    length,
    limit: query.limit ?? limitDefault,
    layer: query.layer,
    hostOffsets: query.hostOffset ?? false,
  };
}

/** Opaque to clients: an offset that they cannot mistake for a number to count with. */
function printCursor(offset: number): string {
  return Buffer.from(`at:${offset}`).toString('base64url');
}

function parseCursor(cursor: string): number {
  const match = /^at:(\d{1,16})$/.exec(Buffer.from(cursor, 'base64url').toString('latin1'));
  const offset = Number(match?.[1]);
  if (!Number.isSafeInteger(offset)) throw badCursor();
  return offset;
}

function badCursor() {
  return invalidRequest({
    pointer: '/cursor',
    in: 'query',
    message: 'no cursor of this list; repeat offset and length with it',
  });
}
