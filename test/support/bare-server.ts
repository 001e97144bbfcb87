// What a server is made with that knows nothing: no names, no tokens, no document, a log that nobody reads.

import { pino } from 'pino';

import { ExpressLane } from '../../src/http/express-lane.ts';
import { RequestMetrics } from '../../src/http/request-metrics.ts';
import type { ServerOptions } from '../../src/http/server.ts';

/** Each time with figures of its own. */
export function bareServer(): ServerOptions {
  return {
    log: pino({ level: 'silent' }),
    newRequestId: () => 'made',
    hosts: [],
    tokens: undefined,
    demandOf: () => 'read',
    tls: undefined,
    metrics: new RequestMetrics(),
    clock: () => performance.now(),
    wallClock: Date.now,
    express: new ExpressLane(),
    isDraining: () => false,
    document: { title: 'test', version: '1', description: 'a test', tags: [], facts: noFacts },
  };
}

const noFacts = { contractOf: () => undefined, headerProblems: {}, problemMembers: {}, problemMemberSchemas: {} };
