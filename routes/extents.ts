// The map of an image: which stretches hold data, zeroes or nothing; in pages, or as one stream of lines.

import type { FastifyReply, FastifyRequest } from 'fastify';
import type { z } from 'zod';

import { badCursor, pageCursors } from '../src/http/page-cursor.ts';
import { sendChunks } from '../src/http/response-stream.ts';
import type { ExtentsOptions, ImageExtents, LeaseClaim, Services } from '../src/services/services.ts';
import { claimOf } from './claims.ts';
import type { Routes } from './route-parts.ts';
import { ImageParams, limitDefault, limitMax, SnapshotParams } from './schemas/common.ts';
import { ExtentLines, ExtentPage, ExtentsQuery, printExtent, SnapshotExtentsQuery } from './schemas/content.ts';
import { ClaimHeaders } from './schemas/leases.ts';
import { problemResponse } from './schemas/problem.ts';

const linesMediaType = 'application/x-ndjson';

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
          headers: ClaimHeaders,
          querystring: ExtentsQuery,
          response: { 200: pageOrLines(), ...problemResponse() },
        },
      },
      async (request, reply) => {
        const { image } = request.params;
        return answerExtents({ services, image, query: request.query, claim: claimOf(request) }, request, reply);
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
          headers: ClaimHeaders,
          querystring: SnapshotExtentsQuery,
          response: { 200: pageOrLines(), ...problemResponse() },
        },
      },
      async (request, reply) => {
        const { image, snapshot } = request.params;
        return answerExtents(
          { services, image, query: { ...request.query, snapshot }, claim: claimOf(request) },
          request,
          reply,
        );
      },
    );
  };
}

/** A new object for each operation, as the document wants it. */
function pageOrLines() {
  return {
    description: 'One page, or all extents as lines of JSON',
    content: { 'application/json': { schema: ExtentPage }, [linesMediaType]: { schema: ExtentLines } },
  };
}

interface Asked {
  readonly services: Services;
  readonly image: string;
  readonly query: Query;
  readonly claim: LeaseClaim | undefined;
}

async function answerExtents(asked: Asked, request: FastifyRequest, reply: FastifyReply) {
  const { services, image, query } = asked;
  if (request.headers.accept?.includes(linesMediaType) === true) return sendLines(asked, reply);
  const cursors = cursorsOf(asked);
  const page = await services.content.extents(image, toOptions(asked, cursors.parse(query.cursor)));
  return reply.header('image-generation', page.generation).send({
    virtualSize: page.virtualSize,
    generation: page.generation,
    items: page.items.map(printExtent),
    nextCursor: cursors.print(page.nextOffset),
  });
}

/** One extent a line, page after page; each page is of one generation. */
async function sendLines(asked: Asked, reply: FastifyReply): Promise<FastifyReply> {
  const { services, image, query } = asked;
  const options = { ...toOptions(asked, cursorsOf(asked).parse(query.cursor)), limit: limitMax };
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

function cursorsOf({ image, query }: Asked) {
  const { offset, length, layer, hostOffset, snapshot } = query;
  return pageCursors('extents', { image, snapshot, offset, length, layer, hostOffset });
}

/** The span of a query, from where the page before ended. */
function toOptions({ query, claim }: Asked, from: string | undefined): ExtentsOptions {
  const start = query.offset ?? 0;
  const offset = from === undefined ? start : Number(from);
  const length = query.length === undefined ? undefined : query.length - (offset - start);
  if (!Number.isSafeInteger(offset) || offset < start || (length !== undefined && length < 0)) {
    throw badCursor('leads out of the span');
  }
  return {
    snapshot: query.snapshot,
    offset,
    length,
    limit: query.limit ?? limitDefault,
    layer: query.layer,
    hostOffsets: query.hostOffset ?? false,
    claim,
  };
}
