// Persistent dirty bitmaps: make, list, show, switch, clear, merge, delete, and what they tell.

import { sendAnswer } from '../src/http/answer.ts';
import { answerOnce } from '../src/http/idempotency.ts';
import { badCursor, pageCursors } from '../src/http/page-cursor.ts';
import type { Services } from '../src/services/services.ts';
import { bitmapAnswer } from './answers.ts';
import { claimOf } from './claims.ts';
import { madeAnswer } from './made-answers.ts';
import type { Routes } from './route-parts.ts';
import {
  Bitmap,
  BitmapPage,
  BitmapParams,
  CreateBitmap,
  DirtyExtentPage,
  DirtyExtentsQuery,
  ListBitmapsQuery,
  MergeBitmaps,
  printBitmap,
  UpdateBitmap,
} from './schemas/bitmaps.ts';
import { ImageParams, limitDefault } from './schemas/common.ts';
import { ClaimHeaders } from './schemas/leases.ts';
import { json, problemResponse } from './schemas/problem.ts';

export function bitmapRoutes({ bitmaps, idempotency }: Services): Routes {
  return async (app) => {
    app.post(
      '/images/:image/bitmaps',
      {
        schema: {
          operationId: 'createBitmap',
          tags: ['bitmaps'],
          summary: 'Record from now on which parts of the disk change',
          params: ImageParams,
          headers: ClaimHeaders,
          body: CreateBitmap,
          response: { 201: json('The bitmap; `Location` names it', Bitmap), ...problemResponse() },
        },
      },
      async (request, reply) => {
        const { name, granularity, enabled } = request.body;
        const options = { name, granularity, enabled };
        const answer = await answerOnce(idempotency, request, {
          make: async (key) =>
            bitmapAnswer(await bitmaps.create(request.params.image, options, { claim: claimOf(request), key })),
          describe: madeAnswer,
        });
        return sendAnswer(reply, answer);
      },
    );

    app.get(
      '/images/:image/bitmaps',
      {
        schema: {
          operationId: 'listBitmaps',
          tags: ['bitmaps'],
          summary: 'List bitmaps in the order of the file',
          params: ImageParams,
          querystring: ListBitmapsQuery,
          response: { 200: json('One page', BitmapPage), ...problemResponse() },
        },
      },
      async (request) => {
        const { image } = request.params;
        const { limit, cursor } = request.query;
        const cursors = pageCursors('bitmaps', { image });
        const start = positionOf(cursors.parse(cursor)) ?? 0;
        const { items, next } = await bitmaps.list(image, { start, limit: limit ?? limitDefault });
        return { items: items.map(printBitmap), nextCursor: cursors.print(next) };
      },
    );

    app.get(
      '/images/:image/bitmaps/:bitmap',
      {
        schema: {
          operationId: 'getBitmap',
          tags: ['bitmaps'],
          summary: 'Show a bitmap',
          params: BitmapParams,
          response: { 200: json('The bitmap', Bitmap), ...problemResponse() },
        },
      },
      async (request) => printBitmap(await bitmaps.get(request.params.image, request.params.bitmap)),
    );

    app.patch(
      '/images/:image/bitmaps/:bitmap',
      {
        schema: {
          operationId: 'updateBitmap',
          tags: ['bitmaps'],
          summary: 'Begin or end to record changes',
          params: BitmapParams,
          headers: ClaimHeaders,
          body: UpdateBitmap,
          response: { 200: json('The bitmap', Bitmap), ...problemResponse() },
        },
      },
      async (request) => {
        const { image, bitmap } = request.params;
        const options = { enabled: request.body.enabled, claim: claimOf(request) };
        return printBitmap(await bitmaps.update(image, bitmap, options));
      },
    );

    app.delete(
      '/images/:image/bitmaps/:bitmap',
      {
        schema: {
          operationId: 'deleteBitmap',
          tags: ['bitmaps'],
          summary: 'Delete a bitmap, an inconsistent one too',
          params: BitmapParams,
          headers: ClaimHeaders,
          response: { 204: { description: 'It is gone' }, ...problemResponse() },
        },
      },
      async (request, reply) => {
        const { image, bitmap } = request.params;
        await bitmaps.delete(image, bitmap, claimOf(request));
        return reply.code(204).send();
      },
    );

    app.post(
      '/images/:image/bitmaps/:bitmap/clear',
      {
        schema: {
          operationId: 'clearBitmap',
          tags: ['bitmaps'],
          summary: 'Take everything as clean from now on',
          params: BitmapParams,
          headers: ClaimHeaders,
          response: { 200: json('The bitmap', Bitmap), ...problemResponse() },
        },
      },
      async (request) => {
        const { image, bitmap } = request.params;
        return printBitmap(await bitmaps.clear(image, bitmap, claimOf(request)));
      },
    );

    app.post(
      '/images/:image/bitmaps/:bitmap/merge',
      {
        schema: {
          operationId: 'mergeBitmaps',
          tags: ['bitmaps'],
          summary: 'Add what is dirty in other bitmaps of the image',
          params: BitmapParams,
          headers: ClaimHeaders,
          body: MergeBitmaps,
          response: { 200: json('The bitmap', Bitmap), ...problemResponse() },
        },
      },
      async (request) => {
        const { image, bitmap } = request.params;
        const options = { from: request.body.from, claim: claimOf(request) };
        return printBitmap(await bitmaps.merge(image, bitmap, options));
      },
    );

    app.get(
      '/images/:image/bitmaps/:bitmap/extents',
      {
        schema: {
          operationId: 'listDirtyExtents',
          tags: ['bitmaps'],
          summary: 'Which stretches of the disk are dirty, in pages',
          params: BitmapParams,
          headers: ClaimHeaders,
          querystring: DirtyExtentsQuery,
          response: { 200: json('One page', DirtyExtentPage), ...problemResponse() },
        },
      },
      async (request, reply) => {
        const { image, bitmap } = request.params;
        const { offset: start = 0, length, limit, cursor } = request.query;
        const cursors = pageCursors('dirty-extents', { image, bitmap, start, length });
        const offset = positionOf(cursors.parse(cursor)) ?? start;
        const rest = length === undefined ? undefined : length - (offset - start);
        if (offset < start || (rest !== undefined && rest < 0)) throw badCursor('leads out of the span');
        const page = await bitmaps.extents(image, bitmap, {
          offset,
          length: rest,
          limit: limit ?? limitDefault,
          claim: claimOf(request),
        });
        const { virtualSize, generation, items, nextOffset } = page;
        return reply
          .header('image-generation', generation)
          .send({ virtualSize, generation, items: [...items], nextCursor: cursors.print(nextOffset) });
      },
    );
  };
}

/** A whole number out of a cursor. */
function positionOf(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (!/^\d{1,16}$/.test(text)) throw badCursor('is no position');
  return Number(text);
}
