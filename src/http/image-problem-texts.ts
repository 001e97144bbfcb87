// What the problems of an image's own files say to a person.

import type { FaultContext } from '../base/fault.ts';
import { textOf } from './problem-text.ts';

/** A part of the table in `problem-texts.ts`, which says what the members mean. */
export const imageProblemTexts = {
  'image-not-ready': {
    cause: 'The image is still being made or imported, has failed, or is being deleted.',
    cure: 'Look at `state` and `stateReason` with GET /v1/images/{image}; wait until it is `ready`, cancel the job that makes it, or delete a failed one.',
    members: ['state'],
    detail: (context: FaultContext) =>
      context['state'] === undefined ? undefined : `${nameOf(context)} is in state ${textOf(context, 'state')}.`,
  },
  'image-in-use': {
    cause: 'Something long is under way on the image, or another program holds its file.',
    cure: 'Wait for the job on it to end, or cancel it (GET /v1/jobs lists them), or close the program that has the file; then try again.',
    members: [],
    detail: (context: FaultContext) => (context['name'] === undefined ? undefined : `${nameOf(context)} is in use.`),
  },
  'image-detached': {
    cause: 'The file of the image was handed to another program, which may change it at any time.',
    cure: 'Take it back with POST /v1/images/{image}/attach once that program has closed it.',
    members: [],
    detail: (context: FaultContext) =>
      context['fileName'] === undefined
        ? `${nameOf(context)} is detached.`
        : `${nameOf(context)} stays detached: its file ${textOf(context, 'fileName')} is not there, and has to be put back first.`,
  },
  'image-protected': {
    cause: 'The image is protected: it must not be deleted, emptied or committed into, nor cut off by shrinking.',
    cure: 'Send PATCH /v1/images/{image} with `{"protected": false}` first.',
    members: [],
    detail: (context: FaultContext) => `${nameOf(context)} is protected.`,
  },
  'data-file-missing': {
    cause: 'The image keeps its data in a file beside it, and that file is not there.',
    cure: 'Put the data file back beside the image file, or delete the image.',
    members: [],
    detail: (context: FaultContext) => `The image names the data file ${textOf(context, 'fileName')}.`,
  },
  'snapshots-need-backing': {
    cause: 'What an internal snapshot does not hold itself it reads from the image below, which is to be exchanged.',
    cure: 'Delete the snapshots first, export those that are still needed, or rebase with `mode: "unsafe"` onto an image that holds the same.',
    members: [],
    detail: undefined,
  },
  'chain-too-deep': {
    cause: 'The new overlay would make the backing chain longer than the service allows.',
    cure: 'Build the overlay on an image further down the chain, or make the chain shorter first: flatten or rebase one of its images.',
    members: ['depth', 'depthMax'],
    detail: (context: FaultContext) =>
      `The chain would have ${textOf(context, 'depth')} images, and at most ${textOf(context, 'depthMax')} are allowed.`,
  },
  'image-corrupt': {
    cause: 'The image breaks the rules of its format at the place that was read or changed.',
    cure: 'Check it with POST /v1/images/{image}/check; `{"repair":"all"}` mends what can be mended. A file that cannot even be attached is to be mended, or put back, by whoever changed it.',
    members: ['guestOffset', 'hostOffset'],
    detail: undefined,
  },
} as const;

/** Of several images in a request, the one that it is about. */
function nameOf(context: FaultContext): string {
  return context['name'] === undefined ? 'The image' : textOf(context, 'name');
}
