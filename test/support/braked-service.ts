// The real routes and services over an engine whose runs stand still until a test lets them go.

import type { Server } from 'node:http';

import request from 'supertest';
import type { Test } from 'supertest';

import { documentHead } from '../../routes/document.ts';
import { allRoutes } from '../../routes/index.ts';
import { demandOf } from '../../routes/operation-scopes.ts';
import { RequestMetrics } from '../../src/http/request-metrics.ts';
import { createServer } from '../../src/http/server.ts';
import type { Engine, EngineImage } from '../../src/pool/engine.ts';
import { openHouse } from './service-house.ts';
import type { ServiceHouse } from './service-house.ts';
import { houseEngine } from './service-engine.ts';

/** Holds every run at its first steps. */
export interface Brake {
  held: boolean;
}

export interface BrakedService extends AsyncDisposable {
  readonly house: ServiceHouse;
  readonly brake: Brake;
  readonly get: (path: string) => Test;
  readonly post: (path: string, body?: object) => Test;
  readonly put: (path: string) => Test;
  readonly delete: (path: string) => Test;
}

/** `path`: a folder that outlives the service. */
export async function startBrakedService(path: string): Promise<BrakedService> {
  const brake: Brake = { held: false };
  const house = await openHouse({ engine: brakedEngine(brake), path });
  const metrics = new RequestMetrics();
  const server = await createServer({
    logLevel: 'silent',
    newRequestId: () => 'request',
    hosts: [],
    tokens: undefined,
    demandOf,
    tls: undefined,
    metrics,
    isDraining: () => false,
    document: documentHead('0.0.0-test'),
  });
  const identity = { name: 'qcowd', version: '0.0.0-test' };
  await server.register(
    allRoutes({ services: house.services, identity, isDraining: () => false, metrics, processFigures: noFigures }),
  );
  await server.listen({ host: '127.0.0.1', port: 0 });
  const http: Server = server.server;
  return {
    house,
    brake,
    get: (url) => request(http).get(url),
    post: (url, body) => (body === undefined ? request(http).post(url) : request(http).post(url).send(body)),
    put: (url) => request(http).put(url),
    delete: (url) => request(http).delete(url),
    [Symbol.asyncDispose]: async () => {
      house.services.jobs.letGo();
      await server.close();
      await house[Symbol.asyncDispose]();
    },
  };
}

/** The engine of the product, with a brake on every run. */
export function brakedEngine(brake: Brake): Engine {
  return {
    ...houseEngine,
    open: (options) => brakedImage(houseEngine.open(options), brake),
    create: (path, spec) => braked(brake, () => houseEngine.create(path, spec)),
    admit: (options) => braked(brake, () => houseEngine.admit(options)),
  };
}

const runNames: ReadonlySet<string | symbol> = new Set([
  'zero',
  'discard',
  'resize',
  'check',
  'repair',
  'createSnapshot',
  'deleteSnapshot',
  'revertSnapshot',
]);

function brakedImage(image: EngineImage, brake: Brake): EngineImage {
  return new Proxy(image, {
    get: (target, name) => {
      const value: unknown = Reflect.get(target, name, target);
      if (typeof value !== 'function') return value;
      const verb = value.bind(target) as (...args: readonly unknown[]) => unknown;
      if (!runNames.has(name)) return verb;
      return (...args: readonly unknown[]) => braked(brake, () => verb(...args) as Steps<unknown>);
    },
  });
}

type Steps<Result> = Generator<{ readonly done: number; readonly total: number }, Result, undefined>;

function* braked<Result>(brake: Brake, begin: () => Steps<Result>): Steps<Result> {
  while (brake.held) yield { done: 1, total: 4 };
  return yield* begin();
}

function noFigures(): { readonly residentBytes: number; readonly cpuSeconds: number } {
  return { residentBytes: 0, cpuSeconds: 0 };
}
