// Unlocks an encrypted image for everybody, and locks it again.

import { signalOf } from '../src/http/disconnect.ts';
import type { Services } from '../src/services/services.ts';
import type { Routes } from './route-parts.ts';
import { ImageParams } from './schemas/common.ts';
import { UnlockImage } from './schemas/encryption.ts';
import { problemResponse } from './schemas/problem.ts';

export function lockRoutes(services: Services): Routes {
  return async (app) => {
    app.post(
      '/images/:image/unlock',
      {
        schema: {
          operationId: 'unlockImage',
          tags: ['images'],
          summary: 'Give the passphrase of an encrypted image; kept in memory until lock, detach or restart',
          params: ImageParams,
          body: UnlockImage,
          response: { 204: { description: 'Everybody gets at the guest data now' }, ...problemResponse() },
        },
      },
      async (request, reply) => {
        const passphrase = Buffer.from(request.body.passphrase);
        await services.locks.unlock(request.params.image, passphrase, signalOf(reply));
        return reply.code(204).send();
      },
    );

    app.post(
      '/images/:image/lock',
      {
        schema: {
          operationId: 'lockImage',
          tags: ['images'],
          summary: 'Forget the passphrase of an encrypted image',
          params: ImageParams,
          response: { 204: { description: 'The guest data asks for a passphrase again' }, ...problemResponse() },
        },
      },
      async (request, reply) => {
        await services.locks.lock(request.params.image);
        return reply.code(204).send();
      },
    );
  };
}
