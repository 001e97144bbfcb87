// What the problems of encrypted images say to a person.

import { textOf } from './problem-text.ts';
import type { ProblemText } from './problem-text.ts';

export const keyProblemTexts = {
  'passphrase-required': {
    cause: 'The guest data of the image, or of an image below it, is encrypted, and nobody has given its passphrase.',
    cure: 'Unlock it with POST /v1/images/{image}/unlock, or send the header `Image-Passphrase: :base64:` with the request; it takes a list, with one for each encrypted image of the chain, the image itself first, and then for those of another image that is named.',
    members: ['layersBelow'],
    detail: (context) => {
      if (context['other'] === true) return 'It is the other image, or one below it.';
      if (context['layersBelow'] === undefined) return undefined;
      return `The image ${textOf(context, 'layersBelow')} below this one in its chain is locked.`;
    },
  },
  'wrong-passphrase': {
    cause: 'No key slot of the image is opened by this passphrase.',
    cure: 'Give the passphrase of an active key slot, byte for byte: a newline at its end counts.',
    members: [],
    detail: undefined,
  },
} as const satisfies Record<'passphrase-required' | 'wrong-passphrase', ProblemText>;
