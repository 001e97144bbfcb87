// How large a new image, or the copy of one, will be: asked before anything is made.

import type { z } from 'zod';

import { signalOf } from '../src/http/disconnect.ts';
import type { MeasureOptions as Options, Services } from '../src/services/services.ts';
import type { Routes } from './route-parts.ts';
import { MeasuredSize, MeasureImage } from './schemas/measure.ts';
import { json, problemResponse } from './schemas/problem.ts';

export function measureRoutes(services: Services): Routes {
  return async (app) => {
    app.post(
      '/measure',
      {
        schema: {
          operationId: 'measureImage',
          tags: ['images'],
          summary: 'How large the file of a new image, or of a copy of one, will be',
          body: MeasureImage,
          response: { 200: json('Upper bounds; nothing was made', MeasuredSize), ...problemResponse() },
        },
      },
      async (request, reply) => {
        const { virtualSize, image, snapshot } = request.body;
        const options = toOptions(request.body.options, signalOf(reply));
        if (image !== undefined) return services.measures.ofImage(image, snapshot, options);
        return services.measures.ofSize(virtualSize ?? 0, options);
      },
    );
  };
}

function toOptions(asked: z.output<typeof MeasureImage>['options'], signal: AbortSignal): Options {
  const { dataFile, encryption, backing, ...format } = asked;
  const luks =
    encryption?.format === 'luks' ? { algorithm: encryption.cipherAlg, mode: encryption.cipherMode } : undefined;
  return { ...format, backing: backing?.image, dataFile, luks, signal };
}
