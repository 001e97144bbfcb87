// The real routes over the services of a house, on a port of their own.

import type { Server } from 'node:http';

import { documentHead } from '../../routes/document.ts';
import { allRoutes } from '../../routes/index.ts';
import { demandOf } from '../../routes/operation-scopes.ts';
import { ExpressLane } from '../../src/http/express-lane.ts';
import { RequestMetrics } from '../../src/http/request-metrics.ts';
import { createServer } from '../../src/http/server.ts';
import { bareServer } from './bare-server.ts';
import { requestsTo } from './http-client.ts';
import type { HttpClient } from './http-client.ts';
import type { ServiceHouse } from './service-house.ts';

/** Requests to a house. Disposing of it ends the house too. */
export interface ServedHouse extends AsyncDisposable, HttpClient {
  readonly house: ServiceHouse;
  readonly server: Server;
}

export async function serveHouse(house: ServiceHouse, isDraining: () => boolean = () => false): Promise<ServedHouse> {
  const metrics = new RequestMetrics();
  const express = new ExpressLane();
  const server = await createServer({
    ...bareServer(),
    newRequestId: () => 'request',
    demandOf,
    metrics,
    express,
    isDraining,
    document: documentHead('0.0.0-test'),
  });
  const identity = { name: 'qcowd', version: '0.0.0-test' };
  await server.register(
    allRoutes({ services: house.services, express, identity, isDraining, metrics, processFigures: noFigures }),
  );
  await server.listen({ host: '127.0.0.1', port: 0 });
  return {
    house,
    server: server.server,
    ...requestsTo(server.server),
    [Symbol.asyncDispose]: async () => {
      house.services.prepareToStop();
      await server.close();
      await house[Symbol.asyncDispose]();
    },
  };
}

function noFigures(): { readonly residentBytes: number; readonly cpuSeconds: number } {
  return { residentBytes: 0, cpuSeconds: 0 };
}
