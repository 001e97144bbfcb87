// The real routes over the services of a house, on a port of their own.

import type { Server } from 'node:http';

import request from 'supertest';
import type { Test } from 'supertest';

import { documentHead } from '../../routes/document.ts';
import { allRoutes } from '../../routes/index.ts';
import { demandOf } from '../../routes/operation-scopes.ts';
import { RequestMetrics } from '../../src/http/request-metrics.ts';
import { createServer } from '../../src/http/server.ts';
import type { ServiceHouse } from './service-house.ts';

/** Requests to a house. Disposing of it ends the house too. */
export interface ServedHouse extends AsyncDisposable {
  readonly house: ServiceHouse;
  readonly get: (path: string) => Test;
  readonly post: (path: string, body?: object) => Test;
  readonly put: (path: string) => Test;
  readonly delete: (path: string) => Test;
}

export async function serveHouse(house: ServiceHouse): Promise<ServedHouse> {
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

function noFigures(): { readonly residentBytes: number; readonly cpuSeconds: number } {
  return { residentBytes: 0, cpuSeconds: 0 };
}
