// Images as things: create, list, show, delete, and the chain below one.

import type { FastifyRequest } from 'fastify';
import type { z } from 'zod';

import { sendAnswer } from '../src/http/answer.ts';
import { conditionsOf, judgeChange, judgeRead } from '../src/http/conditional.ts';
import type { Conditions } from '../src/http/conditional.ts';
import { answerOnce } from '../src/http/idempotency.ts';
import { readJson } from '../src/http/json-body.ts';
import { pageCursors } from '../src/http/page-cursor.ts';
import type { CreateOptions, LeaseClaim, Services } from '../src/services/services.ts';
import { answerImage, imageTag, versionTag } from './answers.ts';
import { claimOf, refuseClaim } from './claims.ts';
import { jobResponse, performWork } from './long-work.ts';
import { madeAnswer } from './made-answers.ts';
import type { Routes } from './route-parts.ts';
import { ClaimHeaders } from './schemas/leases.ts';
import { ImageParams, limitDefault } from './schemas/common.ts';
import { newEncryptionOf, withoutPassphrase } from './schemas/encryption.ts';
import {
  Chain,
  CreateImage,
  Image,
  ImagePage,
  ListImagesQuery,
  printChain,
  printImage,
  UpdateImage,
} from './schemas/images.ts';
import { json, problemResponse } from './schemas/problem.ts';

export function imageRoutes(services: Services): Routes {
  return async (app) => {
    app.post(
      '/images',
      {
        schema: {
          operationId: 'createImage',
          tags: ['images'],
          summary: 'Make an empty image, or an overlay over another one',
          headers: ClaimHeaders,
          body: CreateImage,
          response: {
            201: json('The new image; `Location` names it', Image),
            ...jobResponse(),
            ...problemResponse(),
          },
        },
      },
      async (request, reply) => {
        const options = toCreateOptions(request.body);
        if (options.backing === undefined) refuseClaim(request);
        const answer = await answerOnce(services.idempotency, request, {
          told: withoutPassphrase(request.body),
          make: (key) =>
            performWork(services, request, {
              kind: 'create',
              image: undefined,
              options: { ...options, encryption: undefined },
              waitsFrom: writesAll(options) ? 'now' : 'never',
              key,
              work: (control) => services.images.create(options, control),
            }),
          describe: madeAnswer,
        });
        return sendAnswer(reply, answer);
      },
    );

    app.get(
      '/images',
      {
        schema: {
          operationId: 'listImages',
          tags: ['images'],
          summary: 'List images in the order in which they were made; opens no file',
          querystring: ListImagesQuery,
          response: { 200: json('One page', ImagePage), ...problemResponse() },
        },
      },
      async (request) => {
        const { limit, cursor, name, label, state, backing } = request.query;
        const filters = { name, state, backing, labels: label ?? [] };
        const cursors = pageCursors('images', filters);
        const page = await services.images.list({
          limit: limit ?? limitDefault,
          cursor: cursors.parse(cursor),
          ...filters,
        });
        return { items: page.items.map(printImage), nextCursor: cursors.print(page.nextCursor) };
      },
    );

    app.get(
      '/images/:image',
      {
        schema: {
          operationId: 'getImage',
          tags: ['images'],
          summary: 'Show an image, in any state',
          params: ImageParams,
          response: {
            200: json('The image; `ETag` is its version', Image),
            304: { description: 'The version is the one of If-None-Match' },
            ...problemResponse(),
          },
        },
      },
      async (request, reply) => {
        const image = await services.images.show(request.params.image);
        const verdict = judgeRead(versionConditions(request), {
          etag: imageTag(image),
          facts: { version: image.version },
        });
        if (verdict === 'not-modified') return reply.code(304).header('etag', imageTag(image)).send();
        return answerImage(reply, image);
      },
    );

    await app.register(updateRoute(services));

    app.delete(
      '/images/:image',
      {
        schema: {
          operationId: 'deleteImage',
          tags: ['images'],
          summary:
            'Delete an image and its file; readers get some seconds to finish; with If-Match only the version that is meant',
          params: ImageParams,
          headers: ClaimHeaders,
          response: { 204: { description: 'It is gone' }, ...problemResponse() },
        },
      },
      async (request, reply) => {
        await services.images.delete(request.params.image, termsOf(request));
        return reply.code(204).send();
      },
    );

    app.get(
      '/images/:image/chain',
      {
        schema: {
          operationId: 'getChain',
          tags: ['images'],
          summary: 'The image and all images below it, top first',
          params: ImageParams,
          response: { 200: json('The chain', Chain), ...problemResponse() },
        },
      },
      async (request) => printChain(await services.images.chain(request.params.image)),
    );
  };
}

function updateRoute(services: Services): Routes {
  return async (app) => {
    app.addContentTypeParser('application/merge-patch+json', async (request: FastifyRequest) => readJson(request.raw));
    app.patch(
      '/images/:image',
      {
        schema: {
          operationId: 'updateImage',
          tags: ['images'],
          summary: 'Change name, description, labels or protection; with If-Match only of the version that is meant',
          params: ImageParams,
          headers: ClaimHeaders,
          body: UpdateImage,
          response: { 200: json('The image; `ETag` is its new version', Image), ...problemResponse() },
        },
      },
      async (request, reply) => {
        return answerImage(reply, await services.images.update(request.params.image, request.body, termsOf(request)));
      },
    );
  };
}

/** The version that a change is meant for, and the lease that it is done with. */
function termsOf(request: FastifyRequest): { judge: (version: number) => void; claim: LeaseClaim | undefined } {
  const conditions = versionConditions(request);
  const judge = (version: number): void => {
    judgeChange(conditions, { etag: versionTag(version), facts: { version } });
  };
  return { judge, claim: claimOf(request) };
}

function versionConditions(request: FastifyRequest): Conditions {
  return conditionsOf(request.headers, { generation: undefined });
}

/** Whether all of its bytes are reserved or written: only that takes long. */
function writesAll({ preallocation }: CreateOptions): boolean {
  return preallocation === 'falloc' || preallocation === 'full';
}

function toCreateOptions(body: z.output<typeof CreateImage>): CreateOptions {
  return {
    name: body.name,
    description: body.description,
    labels: body.labels,
    virtualSize: body.virtualSize,
    clusterSize: body.clusterSize,
    compat: body.compat,
    refcountBits: body.refcountBits,
    lazyRefcounts: body.lazyRefcounts,
    extendedL2: body.extendedL2,
    compressionType: body.compressionType,
    preallocation: body.preallocation,
    backing: body.backing?.image,
    encryption: newEncryptionOf(body),
    dataFile: body.dataFile,
  };
}
