// Hands the file of an image to another program and takes it back.

import type { Services } from '../src/services/services.ts';
import { answerImage } from './answers.ts';
import { claimOf } from './claims.ts';
import type { Routes } from './route-parts.ts';
import { ImageParams } from './schemas/common.ts';
import { ClaimHeaders } from './schemas/leases.ts';
import { Image } from './schemas/images.ts';
import { json, problemResponse } from './schemas/problem.ts';

export function handOverRoutes(services: Services): Routes {
  return async (app) => {
    app.post(
      '/images/:image/detach',
      {
        schema: {
          operationId: 'detachImage',
          tags: ['images'],
          summary: 'Flush and close the file and give its locks back, so that another program may use it',
          params: ImageParams,
          headers: ClaimHeaders,
          response: { 200: json('The image, in state `detached`', Image), ...problemResponse() },
        },
      },
      async (request, reply) =>
        answerImage(reply, await services.images.detach(request.params.image, claimOf(request))),
    );

    app.post(
      '/images/:image/attach',
      {
        schema: {
          operationId: 'attachImage',
          tags: ['images'],
          summary: 'Take the file back as it is now; its generation is a new one',
          params: ImageParams,
          headers: ClaimHeaders,
          response: { 200: json('The image, in state `ready`', Image), ...problemResponse() },
        },
      },
      async (request, reply) =>
        answerImage(reply, await services.images.attach(request.params.image, claimOf(request))),
    );
  };
}
