// Internal snapshots: take, list, show, delete, revert to, and read.

import { sendAnswer } from '../src/http/answer.ts';
import { answerBytes, rangeOf } from '../src/http/byte-answer.ts';
import { conditionsOf } from '../src/http/conditional.ts';
import { signalOf } from '../src/http/disconnect.ts';
import { answerOnce } from '../src/http/idempotency.ts';
import { badCursor, pageCursors } from '../src/http/page-cursor.ts';
import type { Services, SnapshotList, SnapshotPosition } from '../src/services/services.ts';
import { claimOf } from './claims.ts';
import { answerWork, jobResponse, longVerb, performWork } from './long-work.ts';
import { madeAnswer } from './made-answers.ts';
import { passphrasesOf } from './passphrases.ts';
import type { Routes } from './route-parts.ts';
import { ClaimHeaders } from './schemas/leases.ts';
import { ImageParams, limitDefault, SnapshotParams } from './schemas/common.ts';
import { ReadQuery } from './schemas/content.ts';
import { Image } from './schemas/images.ts';
import { bytesResponses, json, problemResponse } from './schemas/problem.ts';
import { CreateSnapshot, ListSnapshotsQuery, printSnapshot, Snapshot, SnapshotPage } from './schemas/snapshots.ts';

export function snapshotRoutes(services: Services): Routes {
  return async (app) => {
    app.post(
      '/images/:image/snapshots',
      {
        schema: {
          operationId: 'createSnapshot',
          tags: ['snapshots'],
          summary: 'Keep what the guest sees now',
          ...longVerb({ 201: json('The snapshot; `Location` names it', Snapshot) }),
          body: CreateSnapshot,
        },
      },
      async (request, reply) => {
        const { image } = request.params;
        const options = request.body;
        const answer = await answerOnce(services.idempotency, request, {
          make: (key) =>
            performWork(services, request, {
              kind: 'snapshot-create',
              image,
              options,
              waitsFrom: 'now',
              key,
              work: (control) => services.snapshots.create(image, options, control),
            }),
          describe: madeAnswer,
        });
        return sendAnswer(reply, answer);
      },
    );

    app.get(
      '/images/:image/snapshots',
      {
        schema: {
          operationId: 'listSnapshots',
          tags: ['snapshots'],
          summary: 'List snapshots in the order of the file',
          params: ImageParams,
          querystring: ListSnapshotsQuery,
          response: { 200: json('One page', SnapshotPage), ...problemResponse() },
        },
      },
      async (request) => {
        const { limit, cursor } = request.query;
        const { image } = request.params;
        const cursors = pageCursors('snapshots', { image });
        const after = readPosition(cursors.parse(cursor));
        const page = await services.snapshots.list(image, { limit: limit ?? limitDefault, after });
        if (page === undefined) throw badCursor('names a snapshot that is gone');
        return { items: page.items.map(printSnapshot), nextCursor: cursors.print(positionOf(page)) };
      },
    );

    app.get(
      '/images/:image/snapshots/:snapshot',
      {
        schema: {
          operationId: 'getSnapshot',
          tags: ['snapshots'],
          summary: 'Show a snapshot',
          params: SnapshotParams,
          response: { 200: json('The snapshot', Snapshot), ...problemResponse() },
        },
      },
      async (request) => {
        const { image, snapshot } = request.params;
        return printSnapshot(await services.snapshots.get(image, snapshot));
      },
    );

    app.delete(
      '/images/:image/snapshots/:snapshot',
      {
        schema: {
          operationId: 'deleteSnapshot',
          tags: ['snapshots'],
          summary: 'Delete a snapshot and what only it holds',
          params: SnapshotParams,
          headers: ClaimHeaders,
          response: { 204: { description: 'It is gone' }, ...jobResponse(), ...problemResponse() },
        },
      },
      async (request, reply) =>
        answerWork(
          services,
          { request, reply },
          {
            kind: 'snapshot-delete',
            options: { snapshot: request.params.snapshot },
            work: (image, { snapshot }, control) => services.snapshots.delete(image, snapshot, control),
          },
        ),
    );

    app.post(
      '/images/:image/snapshots/:snapshot/revert',
      {
        schema: {
          operationId: 'revertSnapshot',
          tags: ['snapshots'],
          summary: 'Let the guest see again what it saw then',
          params: SnapshotParams,
          headers: ClaimHeaders,
          response: { 200: json('The image after it', Image), ...jobResponse(), ...problemResponse() },
        },
      },
      async (request, reply) =>
        answerWork(
          services,
          { request, reply },
          {
            kind: 'snapshot-revert',
            options: { snapshot: request.params.snapshot },
            work: (image, { snapshot }, control) => services.snapshots.revert(image, snapshot, control),
          },
        ),
    );
  };
}

export function snapshotDataRoutes(services: Services): Routes {
  return async (app) => {
    app.route({
      method: ['GET', 'HEAD'],
      url: '/images/:image/snapshots/:snapshot/data',
      schema: {
        operationId: 'readSnapshotData',
        tags: ['snapshots'],
        summary: 'Read the guest bytes of a snapshot; they never change',
        params: SnapshotParams,
        headers: ClaimHeaders,
        querystring: ReadQuery,
        response: { ...bytesResponses(), ...problemResponse() },
      },
      handler: async (request, reply) => {
        const { image, snapshot } = request.params;
        using session = await services.content.openRead(image, {
          snapshot,
          signal: signalOf(reply),
          claim: claimOf(request),
          passphrases: passphrasesOf(request),
        });
        void reply.header('content-type', 'application/octet-stream').header('cache-control', immutable);
        return await answerBytes(request, reply, {
          source: {
            size: session.size,
            generation: session.generation,
            etagOf: () => snapshotTag(session),
            read: (span, options) => session.read(span, options),
            chunks: (span) => session.chunks(span),
            recycle: (bytes) => services.content.recycle(bytes),
          },
          conditions: conditionsOf(request.headers, { generation: request.query.generation }),
          range: rangeOf(request),
        });
      },
    });
  };
}

/** A name may come back with other bytes; the tag tells. */
const immutable = 'private, no-cache, immutable';

/** Ids of snapshots never come back, so the tag stands for these bytes for ever. */
function snapshotTag(session: { readonly imageId: string; readonly snapshotId: string | undefined }): string {
  return `"${session.imageId}-s${session.snapshotId ?? ''}"`;
}

/** Ids that are longer are nobody's numbers; where such a snapshot ends a page its place alone counts. */
const cursorIdLengthMax = 32;

/** How many snapshots come before the next page, and the id of the last of them. */
function positionOf({ items, next }: SnapshotList): string | undefined {
  if (next === undefined) return undefined;
  const id = items.at(-1)?.id ?? '';
  return `${next}:${id.length > cursorIdLengthMax ? '' : `id:${id}`}`;
}

function readPosition(text: string | undefined): SnapshotPosition | undefined {
  if (text === undefined) return undefined;
  const match = /^([1-9]\d{0,5}):(?:id:(.*))?$/su.exec(text);
  if (match === null) throw badCursor('is not one of this list');
  return { next: Number(match[1]), lastId: match[2] };
}
