// Leases: claims on an image, acquired, listed, renewed, released and broken.

import { sendAnswer } from '../src/http/answer.ts';
import { answerOnce } from '../src/http/idempotency.ts';
import { pageCursors } from '../src/http/page-cursor.ts';
import type { Services } from '../src/services/services.ts';
import { grantedAnswer } from './answers.ts';
import { madeAnswer } from './made-answers.ts';
import type { Routes } from './route-parts.ts';
import { ImageParams, limitDefault } from './schemas/common.ts';
import {
  AcquireLease,
  BreakLease,
  Lease,
  LeasePage,
  LeaseParams,
  ListLeasesQuery,
  printLease,
  printLeases,
} from './schemas/leases.ts';
import { json, problemResponse } from './schemas/problem.ts';

export function leaseRoutes(services: Services): Routes {
  return async (app) => {
    app.post(
      '/images/:image/leases',
      {
        schema: {
          operationId: 'acquireLease',
          tags: ['leases'],
          summary: 'Claim an image: exclusively, or shared so that nobody changes it',
          params: ImageParams,
          body: AcquireLease,
          response: { 201: json('The lease; its id is a secret', Lease), ...problemResponse() },
        },
      },
      async (request, reply) => {
        const { mode, ttlSeconds, owner } = request.body;
        const options = { mode, ttlMs: ttlSeconds * 1000, owner };
        const answer = await answerOnce(services.idempotency, request, {
          make: async (key) => grantedAnswer(await services.leases.acquire(request.params.image, { ...options, key })),
          describe: madeAnswer,
        });
        return sendAnswer(reply, answer);
      },
    );

    app.get(
      '/images/:image/leases',
      {
        schema: {
          operationId: 'listLeases',
          tags: ['leases'],
          summary: 'Who has claimed an image',
          params: ImageParams,
          querystring: ListLeasesQuery,
          response: { 200: json('One page', LeasePage), ...problemResponse() },
        },
      },
      async (request) => {
        const { limit, cursor } = request.query;
        const { image } = request.params;
        const cursors = pageCursors('leases', { image });
        const query = { limit: limit ?? limitDefault, after: cursors.parse(cursor) };
        const { items, next } = await services.leases.list(image, query);
        return printLeases(items, { nextCursor: cursors.print(next) });
      },
    );

    app.post(
      '/images/:image/leases/:lease/renew',
      {
        schema: {
          operationId: 'renewLease',
          tags: ['leases'],
          summary: 'Hold a lease for another full period',
          params: LeaseParams,
          response: { 200: json('The lease with its new end', Lease), ...problemResponse() },
        },
      },
      async (request) => {
        const { image, lease } = request.params;
        return printLease(await services.leases.renew(image, lease));
      },
    );

    app.delete(
      '/images/:image/leases/:lease',
      {
        schema: {
          operationId: 'releaseLease',
          tags: ['leases'],
          summary: 'Give a lease back; one that is no more is no harm',
          params: LeaseParams,
          response: { 204: { description: 'It is over' }, ...problemResponse() },
        },
      },
      async (request, reply) => {
        const { image, lease } = request.params;
        await services.leases.release(image, lease);
        return reply.code(204).send();
      },
    );

    app.post(
      '/images/:image/leases/break',
      {
        schema: {
          operationId: 'breakLease',
          tags: ['leases'],
          summary: 'End every lease of an image, at once or after a grace',
          params: ImageParams,
          body: BreakLease.optional(),
          response: { 202: json('All leases that still hold for their grace', LeasePage), ...problemResponse() },
        },
      },
      async (request, reply) => {
        const graceMs = (request.body?.graceSeconds ?? 0) * 1000;
        const left = await services.leases.break(request.params.image, { graceMs });
        void reply.code(202);
        return printLeases(left, { nextCursor: null });
      },
    );
  };
}
