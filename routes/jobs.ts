// Jobs: list, show and wait, cancel.

import { signalOf } from '../src/http/disconnect.ts';
import { pageCursors } from '../src/http/page-cursor.ts';
import type { Services } from '../src/services/services.ts';
import { showJob } from './long-work.ts';
import type { Routes } from './route-parts.ts';
import { limitDefault } from './schemas/common.ts';
import { Job, JobPage, JobParams, JobQuery, ListJobsQuery } from './schemas/jobs.ts';
import { json, problemResponse } from './schemas/problem.ts';

export function jobRoutes(services: Services): Routes {
  return async (app) => {
    app.get(
      '/jobs',
      {
        schema: {
          operationId: 'listJobs',
          tags: ['jobs'],
          summary: 'List jobs in the order in which they were asked for',
          querystring: ListJobsQuery,
          response: { 200: json('One page', JobPage), ...problemResponse() },
        },
      },
      async (request) => {
        const { limit, cursor } = request.query;
        const cursors = pageCursors('jobs', {});
        const page = await services.jobs.list({ limit: limit ?? limitDefault, cursor: cursors.parse(cursor) });
        return { items: page.items.map(showJob), nextCursor: cursors.print(page.nextCursor) };
      },
    );

    app.get(
      '/jobs/:job',
      {
        schema: {
          operationId: 'getJob',
          tags: ['jobs'],
          summary: 'Show a job, or wait for its end',
          params: JobParams,
          querystring: JobQuery,
          response: { 200: json('The job as it is now', Job), ...problemResponse() },
        },
      },
      async (request, reply) => {
        const waitMs = (request.query.wait ?? 0) * 1000;
        const signal = waitMs > 0 ? signalOf(reply) : undefined;
        return showJob(await services.jobs.get(request.params.job, { waitMs, signal }));
      },
    );

    app.post(
      '/jobs/:job/cancel',
      {
        schema: {
          operationId: 'cancelJob',
          tags: ['jobs'],
          summary: 'Ask a job to stop at its next step; the image stays sound',
          params: JobParams,
          response: { 202: json('The job, which is being cancelled', Job), ...problemResponse() },
        },
      },
      async (request, reply) => {
        void reply.code(202);
        return showJob(await services.jobs.cancel(request.params.job));
      },
    );
  };
}
