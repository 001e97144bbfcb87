// What is done to a layer as a whole: put on another base, flattened, committed, summed up, compared.

import type { Services } from '../src/services/services.ts';
import { answerWork, longVerb } from './long-work.ts';
import type { Routes } from './route-parts.ts';
import {
  CommitImage,
  CompareImages,
  DigestImage,
  ImageComparison,
  ImageDigest,
  RebaseImage,
} from './schemas/chains.ts';
import { Image } from './schemas/images.ts';
import { json } from './schemas/problem.ts';

export function chainRoutes(services: Services): Routes {
  return async (app) => {
    app.post(
      '/images/:image/rebase',
      {
        schema: {
          operationId: 'rebaseImage',
          tags: ['images'],
          summary: 'Put the image on another one, or on none',
          ...longVerb({ 200: json('The image on its new base', Image) }),
          body: RebaseImage,
        },
      },
      async (request, reply) =>
        answerWork(
          services,
          { request, reply },
          {
            kind: 'rebase',
            options: { backing: request.body.backing?.image, mode: request.body.mode },
            work: (...asked) => services.chains.rebase(...asked),
          },
        ),
    );

    app.post(
      '/images/:image/commit',
      {
        schema: {
          operationId: 'commitImage',
          tags: ['images'],
          summary: 'Copy what the image holds into one below it; the image is emptied unless it keeps its data',
          ...longVerb({ 200: json('The image that was committed', Image) }),
          body: CommitImage.optional(),
        },
      },
      async (request, reply) =>
        answerWork(
          services,
          { request, reply },
          {
            kind: 'commit',
            options: { into: request.body?.into, keepTop: request.body?.keepTop },
            work: (...asked) => services.chains.commit(...asked),
          },
        ),
    );

    app.post(
      '/images/:image/digest',
      {
        schema: {
          operationId: 'digestImage',
          tags: ['data'],
          summary: 'The SHA-256 of all guest bytes',
          ...longVerb({ 200: json('The digest, and of which generation', ImageDigest) }),
          body: DigestImage.optional(),
        },
      },
      async (request, reply) =>
        answerWork(
          services,
          { request, reply },
          {
            kind: 'digest',
            options: { snapshot: request.body?.snapshot },
            work: (...asked) => services.chains.digest(...asked),
          },
        ),
    );

    app.post(
      '/images/:image/compare',
      {
        schema: {
          operationId: 'compareImages',
          tags: ['data'],
          summary: 'Whether another image holds the same',
          ...longVerb({ 200: json('Whether they are identical, and where they differ first', ImageComparison) }),
          body: CompareImages,
        },
      },
      async (request, reply) =>
        answerWork(
          services,
          { request, reply },
          { kind: 'compare', options: request.body, work: (...asked) => services.chains.compare(...asked) },
        ),
    );

    app.post(
      '/images/:image/flatten',
      {
        schema: {
          operationId: 'flattenImage',
          tags: ['images'],
          summary: 'Take everything from the images below into the image, so that it needs none of them',
          ...longVerb({ 200: json('The image, which stands on none', Image) }),
        },
      },
      async (request, reply) =>
        answerWork(
          services,
          { request, reply },
          { kind: 'flatten', options: {}, work: (image, _, control) => services.chains.flatten(image, control) },
        ),
    );
  };
}
