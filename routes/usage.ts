// What is taken and what is done: usage for people, metrics for Prometheus.

import { z } from 'zod';

import { metricsMediaType, printMetrics, single } from '../src/http/prometheus.ts';
import type { MetricFamily } from '../src/http/prometheus.ts';
import type { RouteConfig } from '../src/http/server.ts';
import type { Services, UsageReport } from '../src/services/services.ts';
import type { ProcessFigures, RouteParts, Routes } from './route-parts.ts';
import { json, problemResponse } from './schemas/problem.ts';
import { Usage } from './schemas/usage.ts';

export function usageRoutes({ services, metrics, processFigures }: RouteParts): Routes {
  return async (app) => {
    app.get(
      '/metrics',
      {
        config: { whileDraining: true } satisfies RouteConfig,
        schema: {
          operationId: 'getMetrics',
          tags: ['system'],
          summary: 'Figures for Prometheus',
          response: {
            200: { description: 'The text form of Prometheus', content: { 'text/plain': { schema: z.string() } } },
            ...problemResponse(),
          },
        },
      },
      async (_request, reply) => {
        const families = [
          ...metrics.families(),
          ...engineFamilies(services),
          ...usageFamilies(await services.usage.report()),
          ...processFamilies(processFigures()),
        ];
        return reply.type(metricsMediaType).send(printMetrics(families));
      },
    );

    app.get(
      '/v1/usage',
      {
        schema: {
          operationId: 'getUsage',
          tags: ['system'],
          summary: 'How much is there and how much of it is taken',
          response: { 200: json('Counts and bytes', Usage), ...problemResponse() },
        },
      },
      async () => {
        const { quotaBytes, ...usage } = await services.usage.report();
        return { ...usage, quotaBytes: quotaBytes ?? null };
      },
    );
  };
}

function engineFamilies(services: Services): readonly MetricFamily[] {
  const { threads, openImages, queuedRequests, queuedBytes, threadsLost, imagesMoved, ...caches } =
    services.usage.engine();
  return [
    single({ name: 'qcowd_engine_threads', help: 'Engine threads.', type: 'gauge' }, threads),
    single({ name: 'qcowd_engine_open_images', help: 'Images that are open.', type: 'gauge' }, openImages),
    single({ name: 'qcowd_engine_queued_requests', help: 'Calls not answered yet.', type: 'gauge' }, queuedRequests),
    single(
      { name: 'qcowd_engine_queued_bytes', help: 'Bytes that those carry or ask for.', type: 'gauge' },
      queuedBytes,
    ),
    single({ name: 'qcowd_engine_threads_lost_total', help: 'Threads that ended.', type: 'counter' }, threadsLost),
    single(
      {
        name: 'qcowd_engine_images_moved_total',
        help: 'Open images that went to a thread with less to do.',
        type: 'counter',
      },
      imagesMoved,
    ),
    single({ name: 'qcowd_cache_bytes', help: 'What cached tables take.', type: 'gauge' }, caches.cacheBytes),
    single(
      { name: 'qcowd_cache_hits_total', help: 'Tables that were in a cache when they were needed.', type: 'counter' },
      caches.cacheHits,
    ),
    single(
      { name: 'qcowd_cache_misses_total', help: 'Tables that had to be read.', type: 'counter' },
      caches.cacheMisses,
    ),
  ];
}

function usageFamilies({ images, virtualBytes, allocatedBytes, freeBytes }: UsageReport): readonly MetricFamily[] {
  return [
    single({ name: 'qcowd_images', help: 'Images.', type: 'gauge' }, images),
    single({ name: 'qcowd_virtual_bytes', help: 'Virtual sizes of all images together.', type: 'gauge' }, virtualBytes),
    single({ name: 'qcowd_allocated_bytes', help: 'What image files occupy.', type: 'gauge' }, allocatedBytes),
    single({ name: 'qcowd_free_bytes', help: 'Free bytes of the file system.', type: 'gauge' }, freeBytes),
  ];
}

function processFamilies({ residentBytes, cpuSeconds }: ProcessFigures): readonly MetricFamily[] {
  return [
    single({ name: 'process_resident_memory_bytes', help: 'Resident memory.', type: 'gauge' }, residentBytes),
    single({ name: 'process_cpu_seconds_total', help: 'CPU time of user and system.', type: 'counter' }, cpuSeconds),
  ];
}
