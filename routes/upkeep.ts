// Upkeep of an image: resize, check and repair, amending, emptying, and what it tells of itself.

import { sendAnswer } from '../src/http/answer.ts';
import { judgeScope } from '../src/http/authentication.ts';
import type { Services } from '../src/services/services.ts';
import { claimOf } from './claims.ts';
import { answerWork, longVerb, performWork } from './long-work.ts';
import type { Routes } from './route-parts.ts';
import { ClaimHeaders } from './schemas/leases.ts';
import { ImageParams } from './schemas/common.ts';
import { toSlotChange } from './schemas/encryption.ts';
import { AmendImage, Image, ResizeImage } from './schemas/images.ts';
import { json, problemResponse } from './schemas/problem.ts';
import { CheckImage, CheckReport, ImageInfo, printInfo, UpdateRuntime } from './schemas/upkeep.ts';

export function upkeepRoutes(services: Services): Routes {
  return async (app) => {
    app.post(
      '/images/:image/resize',
      {
        schema: {
          operationId: 'resizeImage',
          tags: ['images'],
          summary: 'Give the guest more or less disk',
          ...longVerb({ 200: json('The image with its new size', Image) }),
          body: ResizeImage,
        },
      },
      async (request, reply) =>
        answerWork(
          services,
          { request, reply },
          { kind: 'resize', options: request.body, work: (...asked) => services.images.resize(...asked) },
        ),
    );

    app.post(
      '/images/:image/check',
      {
        schema: {
          operationId: 'checkImage',
          tags: ['images'],
          summary: 'Count every reference to every cluster, and mend what was asked for',
          ...longVerb({ 200: json('What was found', CheckReport) }),
          body: CheckImage.optional(),
        },
      },
      async (request, reply) => {
        const options = { repair: request.body?.repair ?? 'none' };
        const kind = options.repair === 'none' ? 'check' : 'repair';
        const refusal = kind === 'repair' ? judgeScope(request, 'write') : undefined;
        if (refusal !== undefined) throw refusal;
        return answerWork(
          services,
          { request, reply },
          { kind, options, work: (...asked) => services.images.check(...asked) },
        );
      },
    );

    app.post(
      '/images/:image/amend',
      {
        schema: {
          operationId: 'amendImage',
          tags: ['images'],
          summary: 'Make the file another way: its version, refcounts and flags, all at once or not at all',
          ...longVerb({ 200: json('The image, amended', Image) }),
          body: AmendImage,
        },
      },
      async (request, reply) => {
        const { params, body } = request;
        const { encryption } = body;
        if (encryption !== undefined) {
          const answer = await performWork(services, request, {
            kind: 'amend',
            image: params.image,
            options: {},
            waitsFrom: 'never',
            key: undefined,
            work: (control) => services.locks.changeSlots(params.image, toSlotChange(encryption), control),
          });
          return sendAnswer(reply, answer);
        }
        const { compat, refcountBits, lazyRefcounts, dataFileRaw } = body;
        const wish = { compat, refcountBits, lazyRefcounts, dataFileRaw };
        return answerWork(
          services,
          { request, reply },
          {
            kind: 'amend',
            options: wish,
            work: (...asked) => services.images.amend(...asked),
          },
        );
      },
    );

    app.post(
      '/images/:image/empty',
      {
        schema: {
          operationId: 'emptyImage',
          tags: ['images'],
          summary: 'Drop all guest data of this layer, so that the image below shows through',
          ...longVerb({ 200: json('The image, empty', Image) }),
        },
      },
      async (request, reply) =>
        answerWork(
          services,
          { request, reply },
          { kind: 'empty', options: {}, work: (image, _, control) => services.chains.empty(image, control) },
        ),
    );

    app.patch(
      '/images/:image/runtime',
      {
        schema: {
          operationId: 'updateImageRuntime',
          tags: ['images'],
          summary: 'Run an image by other caches and rules, all of them or none, while the service runs',
          params: ImageParams,
          headers: ClaimHeaders,
          body: UpdateRuntime,
          response: { 200: json('What the image tells of itself now', ImageInfo), ...problemResponse() },
        },
      },
      async (request) => {
        const { image } = request.params;
        await services.runtimes.update(image, request.body, claimOf(request));
        return printInfo(await services.images.info(image));
      },
    );

    app.get(
      '/images/:image/info',
      {
        schema: {
          operationId: 'getImageInfo',
          tags: ['images'],
          summary: 'What qemu-img info tells, in camelCase',
          params: ImageParams,
          response: { 200: json('What the file tells', ImageInfo), ...problemResponse() },
        },
      },
      async (request) => printInfo(await services.images.info(request.params.image)),
    );
  };
}
