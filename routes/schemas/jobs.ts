// Jobs on the wire.

import { z } from 'zod';

import { waitSecondsMax } from '../../src/http/preferences.ts';
import type { Job as JobValue } from '../../src/services/services.ts';
import { Cursor, Limit, printTime, queryNumber, Size, Time } from './common.ts';
import { ImageComparison, ImageDigest } from './chains.ts';
import { CompactReport } from './copies.ts';
import { Image } from './images.ts';
import { Problem } from './problem.ts';
import { Snapshot } from './snapshots.ts';
import { CheckReport } from './upkeep.ts';

export const JobParams = z.strictObject({
  job: z
    .string()
    .min(1)
    .max(128)
    .meta({ description: 'The id of a job', examples: ['job_01900000-0000-7000-8000-000000000000'] }),
});

export const JobQuery = z.strictObject({
  wait: queryNumber({ min: 0, max: waitSecondsMax })
    .optional()
    .meta({ description: 'Wait so many seconds for the end of the job' }),
});

export const ListJobsQuery = z.strictObject({ limit: Limit, cursor: Cursor });

export const JobProgress = z
  .object({
    done: Size,
    total: Size.meta({ description: '0 as long as nobody knows' }),
    unit: z.enum(['bytes', 'clusters']),
    etaSeconds: Size.optional(),
  })
  .meta({ id: 'JobProgress' });

export const Job = z
  .object({
    id: z.string(),
    kind: z.enum([
      'create',
      'import',
      'copy',
      'compact',
      'resize',
      'check',
      'digest',
      'compare',
      'repair',
      'empty',
      'amend',
      'rebase',
      'commit',
      'flatten',
      'zero',
      'discard',
      'snapshot-create',
      'snapshot-delete',
      'snapshot-revert',
    ]),
    imageId: z.string().nullable(),
    state: z.enum(['queued', 'running', 'cancelling', 'succeeded', 'failed', 'cancelled']),
    progress: JobProgress,
    cancellable: z.boolean(),
    result: z
      .union([Image, CheckReport, CompactReport, Snapshot, ImageDigest, ImageComparison])
      .optional()
      .meta({ description: 'The body that the request would have had; not there for one without a body' }),
    problem: Problem.optional().meta({ description: 'Why the job failed' }),
    createdAt: Time,
    startedAt: Time.optional(),
    endedAt: Time.optional(),
  })
  .meta({
    id: 'Job',
    description: 'Long work that outlived its request. Finished jobs are kept 7 days, at most 10,000',
  });

export const JobPage = z.object({ items: z.array(Job), nextCursor: z.string().nullable() }).meta({ id: 'JobPage' });

/** A job as the wire has it; what it led to is printed by those who know its kind. */
export function printJob(
  job: JobValue,
  end: { readonly result: unknown; readonly problem: object | undefined },
): z.input<typeof Job> {
  const { done, total, unit, etaSeconds, startedAtMs, endedAtMs } = job;
  return {
    id: job.id,
    kind: job.kind,
    imageId: job.imageId ?? null,
    state: job.state,
    progress: { done, total, unit, ...(etaSeconds === undefined ? {} : { etaSeconds }) },
    cancellable: job.state === 'queued' || job.state === 'running',
    ...(end.result === undefined ? {} : { result: end.result as z.input<typeof Image> }),
    ...(end.problem === undefined ? {} : { problem: end.problem as z.input<typeof Problem> }),
    createdAt: printTime(job.createdAtMs),
    ...(startedAtMs === undefined ? {} : { startedAt: printTime(startedAtMs) }),
    ...(endedAtMs === undefined ? {} : { endedAt: printTime(endedAtMs) }),
  };
}
