// What the problems of jobs and of repeated requests say to a person.

import type { FaultContext } from '../base/fault.ts';

/** A part of the table in `problem-texts.ts`, which says what the members mean. */
export const jobProblemTexts = {
  'job-not-found': {
    cause: 'There is no job with this id; finished jobs are kept 7 days, at most 10,000 of them.',
    cure: 'List jobs with GET /v1/jobs, and look at the image that the job was about.',
    members: ['job'],
    detail: (context: FaultContext) => `No job is called ${String(context['job'])}.`,
  },
  'job-not-cancellable': {
    cause: 'The job is over: what it did is done.',
    cure: 'See GET /v1/jobs/{job} for how it ended.',
    members: ['state'],
    detail: (context: FaultContext) => `It ended as ${String(context['state'])}.`,
  },
  'job-interrupted': {
    cause: 'The service ended while the job was running, and the job does not go on by itself.',
    cure: 'Ask for the work again.',
    members: [],
    detail: (context: FaultContext) => String(context['outcome']),
  },
  'idempotency-in-progress': {
    cause: 'A request with this Idempotency-Key is still under way.',
    cure: 'Send the same request again a little later: it gets the answer of the first.',
    members: [],
    detail: undefined,
  },
  'idempotency-key-reused': {
    cause: 'This Idempotency-Key came with another request within the last 24 hours.',
    cure: 'Use a new key for every new request, and the same key only to repeat a request as it was.',
    members: [],
    detail: undefined,
  },
} as const;
