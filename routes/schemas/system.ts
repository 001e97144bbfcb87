// The service itself on the wire.

import { z } from 'zod';

import { Size } from './common.ts';

export const Welcome = z
  .object({
    name: z.string(),
    version: z.string(),
    links: z
      .object({ api: z.string(), docs: z.string(), openapi: z.string(), problems: z.string() })
      .meta({ id: 'WelcomeLinks' }),
  })
  .meta({ id: 'Welcome' });

export const Liveness = z.object({ status: z.literal('ok') }).meta({ id: 'Liveness' });

export const ReadinessChecks = z
  .object({
    catalog: z.enum(['ok', 'failing']),
    dataDirectory: z.enum(['ok', 'failing']),
    freeSpace: z.enum(['ok', 'low', 'unknown']),
    engine: z.enum(['ok', 'failing']),
  })
  .meta({ id: 'ReadinessChecks' });

export const Readiness = z
  .object({ status: z.enum(['ok', 'degraded']), checks: ReadinessChecks })
  .meta({ id: 'Readiness', description: 'Low space is degraded: deletes must get through' });

export const ServiceLimits = z
  .object({
    virtualSizeMax: Size,
    clusterSizeMin: Size,
    clusterSizeMax: Size,
    chainDepthMax: Size.meta({ description: 'How many images may stand on one another' }),
    leasesMax: Size.meta({ description: 'How many leases an image has at most' }),
    listLimitMax: Size,
    rangesMax: Size,
    jsonBodyMax: Size,
  })
  .meta({ id: 'ServiceLimits' });

export const ServiceInfo = z
  .object({
    name: z.string(),
    version: z.string(),
    features: z.array(z.string()),
    limits: ServiceLimits,
    formats: z.array(z.string()),
    digests: z.array(z.string()),
  })
  .meta({ id: 'ServiceInfo' });

/** The OpenAPI document describes itself no further. */
export const OpenApiDocument = z.looseObject({}).meta({ id: 'OpenApiDocument', override: { type: 'object' } });
