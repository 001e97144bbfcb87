// What the problems of encrypted images say to a person.

import { textOf } from './problem-text.ts';
import type { ProblemText } from './problem-text.ts';

export const keyProblemTexts = {
  'passphrase-required': {
    cause: 'The guest data of the image, or of an image below it, is encrypted, and nobody has given its passphrase.',
    cure: 'Unlock it with POST /v1/images/{image}/unlock, or send the header `Image-Passphrase: :base64:` with the request; it takes a list, with one for each encrypted image of the chain, the image itself first, and then for those of another image that is named.',
    members: ['layersBelow'],
    detail: (context) => {
      if (context['isNew'] === true) return 'It is the new image, which takes its passphrase from the header.';
      if (context['other'] === true) return 'It is the other image, or one below it.';
      const sentences = [];
      if (context['begunAgain'] === true) {
        sentences.push(
          'The job began again after a restart, which forgets every passphrase; its images can be used as before, and asked for once more with their passphrases the work goes on.',
        );
      }
      if (context['layersBelow'] !== undefined) {
        sentences.push(
          `The locked one is layer ${textOf(context, 'layersBelow')} in GET /v1/images/{image}/chain, the image itself being layer 0.`,
        );
      }
      return sentences.length === 0 ? undefined : sentences.join(' ');
    },
  },
  'wrong-passphrase': {
    cause: 'No key slot of the image is opened by this passphrase.',
    cure: 'Give the passphrase of an active key slot, byte for byte: a newline at its end counts. Several stand in the order of the chain, the image itself first.',
    members: [],
    detail: undefined,
  },
} as const satisfies Record<'passphrase-required' | 'wrong-passphrase', ProblemText>;
