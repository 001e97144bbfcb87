// The service itself: welcome, health, readiness, the OpenAPI document, problems, and what it can do.

import { z } from 'zod';

import { MiB, PiB, sectorSize } from '../src/base/units.ts';
import { Fault } from '../src/base/fault.ts';
import { rangesMax } from '../src/http/byte-range.ts';
import { jsonLengthMax } from '../src/http/json-body.ts';
import { explainProblems, findProblem } from '../src/http/problem.ts';
import type { RouteConfig } from '../src/http/server.ts';
import { chainDepthMax, leasesMax } from '../src/services/services.ts';
import type { HealthReport } from '../src/services/services.ts';
import type { RouteParts, Routes } from './route-parts.ts';
import { limitMax } from './schemas/common.ts';
import { json, ProblemExplanation, ProblemParams, problemResponse, ProblemTable } from './schemas/problem.ts';
import { Liveness, OpenApiDocument, Readiness, ServiceInfo, Welcome } from './schemas/system.ts';

export function systemRoutes({ services, identity, isDraining }: RouteParts): Routes {
  return async (app) => {
    app.get(
      '/',
      {
        schema: {
          operationId: 'getWelcome',
          tags: ['system'],
          summary: 'Name, version and where to go next',
          response: {
            200: {
              description: 'Where to go next; a page for browsers',
              content: { 'application/json': { schema: Welcome }, 'text/html': { schema: z.string() } },
            },
            ...problemResponse(),
          },
        },
      },
      async (request, reply) => {
        const links = { api: '/v1', docs: '/docs', openapi: '/openapi.json', problems: '/problems' };
        if (!prefersHtml(request.headers.accept)) return { ...identity, links };
        return reply.type('text/html; charset=utf-8').send(welcomePage(identity, links));
      },
    );

    app.get(
      '/healthz',
      {
        config: { whileDraining: true } satisfies RouteConfig,
        schema: {
          operationId: 'getLiveness',
          tags: ['system'],
          summary: 'Whether the process answers; touches no storage',
          response: { 200: json('It does', Liveness), ...problemResponse() },
        },
      },
      async () => ({ status: 'ok' as const }),
    );

    app.get(
      '/readyz',
      {
        config: { whileDraining: true } satisfies RouteConfig,
        schema: {
          operationId: 'getReadiness',
          tags: ['system'],
          summary: 'Whether the service can serve',
          response: { 200: json('It can, perhaps not in everything', Readiness), ...problemResponse() },
        },
      },
      async () => {
        if (isDraining()) throw new Fault('draining', {});
        return readinessOf(await services.health.check());
      },
    );

    app.get(
      '/openapi.json',
      {
        schema: {
          operationId: 'getOpenApi',
          tags: ['system'],
          summary: 'This document',
          response: { 200: json('OpenAPI 3.1', OpenApiDocument), ...problemResponse() },
        },
      },
      async () => ({ ...app.swagger() }),
    );

    app.get(
      '/problems',
      {
        schema: {
          operationId: 'listProblems',
          tags: ['system'],
          summary: 'All problems with cause and cure',
          response: { 200: json('The table', ProblemTable), ...problemResponse() },
        },
      },
      async () => ({ items: [...explainProblems()] }),
    );

    app.get(
      '/problems/:code',
      {
        schema: {
          operationId: 'getProblem',
          tags: ['system'],
          summary: 'Cause and cure of one problem',
          params: ProblemParams,
          response: { 200: json('The problem explained', ProblemExplanation), ...problemResponse() },
        },
      },
      async (request) => {
        const found = findProblem(request.params.code);
        if (found === undefined) throw new Fault('route-not-found', {});
        return found;
      },
    );

    app.get(
      '/v1',
      {
        schema: {
          operationId: 'getServiceInfo',
          tags: ['system'],
          summary: 'What this version can do, and its limits',
          response: { 200: json('Features and limits', ServiceInfo), ...problemResponse() },
        },
      },
      async () => ({ ...identity, features, limits, formats: ['qcow2', 'raw'], digests: ['sha-256'] }),
    );
  };
}

const features = [
  'amend',
  'backing',
  'bitmaps',
  'check',
  'commit',
  'compact',
  'compare',
  'compress',
  'conditions',
  'copy',
  'data-files',
  'detach',
  'digests',
  'discard',
  'empty',
  'encryption',
  'export',
  'extents',
  'flatten',
  'idempotency',
  'import',
  'jobs',
  'leases',
  'measure',
  'multipart-ranges',
  'range-read',
  'range-write',
  'rebase',
  'repair',
  'resize',
  'runtime',
  'snapshots',
  'vm-states',
  'zero',
];

const limits = {
  virtualSizeMax: 8 * PiB - sectorSize,
  clusterSizeMin: sectorSize,
  clusterSizeMax: 2 * MiB,
  chainDepthMax,
  leasesMax,
  listLimitMax: limitMax,
  rangesMax,
  jsonBodyMax: jsonLengthMax,
};

/** Faults `not-ready` when something that every request needs is failing. */
function readinessOf(health: HealthReport) {
  const { catalog, dataDirectory, freeSpace, engine } = health;
  const checks = { catalog, dataDirectory, freeSpace, engine };
  if ([catalog, dataDirectory, engine].includes('failing')) throw new Fault('not-ready', { checks });
  return { status: freeSpace === 'low' ? ('degraded' as const) : ('ok' as const), checks };
}

/** Browsers name HTML first; tools name JSON or anything. */
function prefersHtml(accept: string | undefined): boolean {
  return accept?.trim().startsWith('text/html') === true;
}

function welcomePage({ name, version }: RouteParts['identity'], links: Readonly<Record<string, string>>): string {
  const items = Object.entries(links).map(([title, path]) => `<li><a href="${path}">${title}</a></li>`);
  return `<!doctype html><meta charset="utf-8"><title>${name}</title><h1>${name} ${version}</h1><ul>${items.join('')}</ul>\n`;
}
