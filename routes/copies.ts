// Copies of images.

import { sendAnswer } from '../src/http/answer.ts';
import { answerOnce } from '../src/http/idempotency.ts';
import type { CopyOptions, Services } from '../src/services/services.ts';
import { longVerb, performWork } from './long-work.ts';
import { madeAnswer } from './made-answers.ts';
import type { Routes } from './route-parts.ts';
import { CopyImage } from './schemas/copies.ts';
import { newEncryptionOf, withoutPassphrase } from './schemas/encryption.ts';
import { Image } from './schemas/images.ts';
import { json } from './schemas/problem.ts';

export function copyRoutes(services: Services): Routes {
  return async (app) => {
    app.post(
      '/images/:image/copy',
      {
        schema: {
          operationId: 'copyImage',
          tags: ['images'],
          summary: 'Copy an image or one of its snapshots; changes of the source wait until a full copy is made',
          ...longVerb({ 201: json('The copy; `Location` names it', Image) }),
          body: CopyImage,
        },
      },
      async (request, reply) => {
        const { image } = request.params;
        const { name, snapshot, clusterSize, compressionType, compress, mode, dataFile } = request.body;
        const format = { clusterSize, compressionType, compress, dataFile };
        const encryption = newEncryptionOf(request.body);
        const options: CopyOptions = { name, snapshot, mode, ...format, encryption };
        const answer = await answerOnce(services.idempotency, request, {
          told: withoutPassphrase(request.body),
          make: (key) =>
            performWork(services, request, {
              kind: 'copy',
              image,
              options: { ...options, encryption: undefined },
              waitsFrom: mode === 'full' ? 'now' : 'never',
              key,
              work: (control) => services.copies.copy(image, options, control),
            }),
          describe: madeAnswer,
        });
        return sendAnswer(reply, answer);
      },
    );
  };
}
