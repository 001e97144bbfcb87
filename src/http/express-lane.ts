// The express lane: a plain request for a few bytes goes past the framework, whose general ways are an eighth of what such a
// request costs. It is let in by the same judges and answered in the same words. What is not plain (another method, a query,
// a body, a long answer, something to wait for) goes to the framework as if nothing had been, and a fault is explained there.
//
//   request ──> plain? ──> welcome? ──> a short answer? ──> sent, counted
//                 │no         │no            │no    │fault, and with it
//                 └───────────┴──────────────┴──────┴───> the framework: hooks, routes, problems

import type { IncomingHttpHeaders, IncomingMessage, Server, ServerResponse } from 'node:http';

import { Fault } from '../base/fault.ts';
import { judgePrincipal, whoAsks } from './authentication.ts';
import type { Demand, TokenFinder } from './authentication.ts';
import { originJudge } from './client-origin.ts';
import { authorityOf, judgeHead } from './request-head.ts';
import type { RequestMetrics } from './request-metrics.ts';
import { requestIdOf } from './request-names.ts';
import type { ByteAnswer, WholeAnswers } from './whole-answer.ts';

/** What became of a request on the lane. */
interface Failure {
  readonly error: unknown;
  /** By the clock of the server, in milliseconds. */
  readonly beganAt: number;
}

/** A route that has short answers. */
export interface ExpressRoute {
  /** The operation that it is a shorter way to. */
  readonly operation: string;
  /** All of the path, without a query; its one group is the name in it. */
  readonly path: RegExp;
  /** What is said of the bytes of all its answers. */
  readonly contentType: string;
  readonly cacheControl: string;
  /**
   * The answer, whose bytes are looked at once; undefined where there is no short one, which is known before anything is
   * waited for. What it throws is told by the framework.
   */
  readonly answer: (name: string, headers: IncomingHttpHeaders) => Promise<ByteAnswer | undefined>;
}

export interface ExpressOptions {
  readonly answers: WholeAnswers;
  readonly newRequestId: () => string;
  readonly hosts: readonly string[];
  readonly tokens: TokenFinder | undefined;
  readonly demandOf: (operation: string) => Demand;
  readonly metrics: RequestMetrics;
  readonly clock: () => number;
  readonly isDraining: () => boolean;
}

type Listener = (request: IncomingMessage, response: ServerResponse) => void;

export class ExpressLane {
  readonly #routes: ExpressRoute[] = [];
  readonly #failures = new WeakMap<IncomingMessage, Failure>();

  /** To be called before the server is asked. */
  add(route: ExpressRoute): void {
    this.#routes.push(route);
  }

  /** How a request has failed on the lane; undefined for those that have not. */
  failureOf(request: IncomingMessage): Failure | undefined {
    return this.#failures.get(request);
  }

  /** Puts itself between a server and whoever has answered its requests until now. */
  open(server: Server, options: ExpressOptions): void {
    const listeners = server.listeners('request') as Listener[];
    const pass: Listener = (request, response) => {
      for (const listener of listeners) listener.call(server, request, response);
    };
    const lane = { ...options, judgeOrigin: originJudge(options.hosts), pass, failures: this.#failures };
    server.removeAllListeners('request');
    server.on('request', (request: IncomingMessage, response: ServerResponse) => {
      const asked = isPlain(request, response) ? this.#find(request.url) : undefined;
      if (asked === undefined || !isWelcome(request, asked.route, lane)) pass(request, response);
      else void answer({ request, response }, asked, lane);
    });
  }

  #find(url = ''): Asked | undefined {
    for (const route of this.#routes) {
      const name = route.path.exec(url)?.[1];
      if (name !== undefined) return { route, name };
    }
    return undefined;
  }
}

/** What every request is judged and answered with. */
interface Lane extends ExpressOptions {
  readonly judgeOrigin: ReturnType<typeof originJudge>;
  /** To the framework. */
  readonly pass: Listener;
  readonly failures: WeakMap<IncomingMessage, Failure>;
}

interface Asked {
  readonly route: ExpressRoute;
  readonly name: string;
}

/** Whether the head is all that there is of a request, and the answer may leave at once on a connection that stays. */
function isPlain(
  { method, httpVersion, headers }: IncomingMessage,
  { socket, shouldKeepAlive }: ServerResponse,
): boolean {
  if (socket === null || !shouldKeepAlive) return false;
  if (method !== 'GET' || httpVersion !== '1.1' || headers.expect !== undefined) return false;
  if (headers['content-length'] !== undefined || headers['transfer-encoding'] !== undefined) return false;
  return headers['content-encoding'] === undefined;
}

/** As the hook of the server judges, which explains it to whoever is not. */
function isWelcome(request: IncomingMessage, { operation }: ExpressRoute, lane: Lane): boolean {
  const { tokens } = lane;
  if (lane.isDraining() || judgeHead(request) !== undefined) return false;
  if (tokens === undefined) return lane.judgeOrigin(request.headers, authorityOf(request)) === undefined;
  const asking = whoAsks(request.headers, tokens);
  return !(asking instanceof Fault) && judgePrincipal(asking, lane.demandOf(operation)) === undefined;
}

async function answer(
  { request, response }: { readonly request: IncomingMessage; readonly response: ServerResponse },
  { route, name }: Asked,
  lane: Lane,
): Promise<void> {
  const { headers } = request;
  const { clock } = lane;
  const beganAt = clock();
  let short: ByteAnswer | undefined;
  try {
    short = await route.answer(name, headers);
  } catch (error) {
    // The framework tells the client and the log, as if its own route had thrown it.
    lane.failures.set(request, { error, beganAt });
  }
  // Spelled out: to spread what a route says would cost more than to say it.
  const head = (): Readonly<Record<string, string>> => ({
    'request-id': requestIdOf(headers, lane.newRequestId),
    'content-type': route.contentType,
    'cache-control': route.cacheControl,
  });
  if (short === undefined || !lane.answers.send(response, head(), short)) {
    lane.pass(request, response);
    return;
  }
  lane.metrics.count(route.operation, { status: response.statusCode, ms: clock() - beganAt });
}
