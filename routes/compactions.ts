// Making the file of an image smaller.

import type { Services } from '../src/services/services.ts';
import { answerWork, longVerb } from './long-work.ts';
import type { Routes } from './route-parts.ts';
import { CompactImage, CompactReport } from './schemas/copies.ts';
import { json } from './schemas/problem.ts';

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
          ...longVerb({ 200: json('What it has brought', CompactReport) }),
          body: CompactImage.optional(),
        },
      },
      async (request, reply) =>
        answerWork(
          services,
          { request, reply },
          {
            kind: 'compact',
            options: { detectZeroes: request.body?.detectZeroes ?? true },
            work: (...asked) => services.compactions.compact(...asked),
          },
        ),
    );
  };
}
