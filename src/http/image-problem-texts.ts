// What the problems of an image's own files say to a person.

/** A part of the table in `problem-texts.ts`, which says what the members mean. */
export const imageProblemTexts = {
  'image-corrupt': {
    cause: 'The image breaks the rules of its format at the place that was read or changed.',
    cure: 'Check it with POST /v1/images/{image}/check; `{"repair":"all"}` mends what can be mended.',
    members: ['guestOffset', 'hostOffset'],
    detail: undefined,
  },
} as const;
