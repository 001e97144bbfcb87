// Making the file of an image smaller.

import type { Services } from '../src/services/services.ts';
import { answerWork, jobResponse } from './long-work.ts';
import type { Routes } from './route-parts.ts';
import { ImageParams } from './schemas/common.ts';
import { CompactImage, CompactReport } from './schemas/copies.ts';
import { ClaimHeaders } from './schemas/leases.ts';
import { json, problemResponse } from './schemas/problem.ts';

export function compactRoutes(services: Services): Routes {
  return async (app) => {
    app.post(
      '/images/:image/compact',
      {
        schema: {
          operationId: 'compactImage',
          tags: ['images'],
          summary:
            'Make the file smaller: clusters of zeroes go, the end moves to free places; the guest sees no change',
          params: ImageParams,
          headers: ClaimHeaders,
          body: CompactImage.optional(),
          response: { 200: json('What it has brought', CompactReport), ...jobResponse(), ...problemResponse() },
        },
      },
      async (request, reply) => {
        const { image } = request.params;
        const options = { detectZeroes: request.body?.detectZeroes ?? true };
        return answerWork(
          services,
          { request, reply },
          {
            kind: 'compact',
            image,
            options,
            work: (control) => services.compactions.compact(image, options, control),
          },
        );
      },
    );
  };
}
