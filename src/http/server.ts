// A Fastify instance, dressed: limits, time-outs, request ids, bodies, zod and problems. Knows HTTP, knows no image.

import type { IncomingMessage, ServerResponse } from 'node:http';

import swagger from '@fastify/swagger';
import swaggerUi from '@fastify/swagger-ui';
import { fastify, LogController } from 'fastify';
import type { FastifyBaseLogger, FastifyError, FastifyReply, FastifyRequest } from 'fastify';

import type { FaultCode } from '../base/fault-codes.ts';
import { Fault } from '../base/fault.ts';
import { KiB } from '../base/units.ts';
import { authenticate, judgeScope, preparePrincipals, principalOf } from './authentication.ts';
import type { Demand, TokenFinder } from './authentication.ts';
import { originJudge } from './client-origin.ts';
import { ClientGone } from './disconnect.ts';
import type { ExpressLane } from './express-lane.ts';
import { readJson, readNoForm } from './json-body.ts';
import { KnownPaths } from './known-paths.ts';
import { answerParserError, refuseTunnels } from './parser-errors.ts';
import { tidyDocument } from './openapi-document.ts';
import type { DocumentFacts } from './openapi-document.ts';
import { toProblem } from './problem.ts';
import type { RequestMetrics } from './request-metrics.ts';
import { requestIdOf } from './request-names.ts';
import { sendProblem } from './refusal.ts';
import { authorityOf, judgeHead } from './request-head.ts';
import { holdContinue } from './request-body.ts';
import {
  compileSerializer,
  compileValidator,
  fastifyZodOpenApiPlugin,
  fastifyZodOpenApiTransformers,
  invalidRequest,
} from './schema.ts';
import type { App } from './schema.ts';
import { prepareWholeAnswers, WholeAnswers } from './whole-answer.ts';

/** The document's own part: everything but paths and components. */
export interface DocumentHead {
  readonly title: string;
  readonly version: string;
  readonly description: string;
  readonly tags: readonly { readonly name: string; readonly description: string }[];
  /** What the routes' own schemas do not say. */
  readonly facts: Omit<DocumentFacts, 'demandOf'>;
}

export interface ServerOptions {
  /** Where lines go. Fastify's own logger would listen for the end of every answer, that of short reads too. */
  readonly log: Log;
  /** A new id for a request that brings none. */
  readonly newRequestId: () => string;
  /** Names besides loopback that the service is reached by; asked about where there are no tokens. */
  readonly hosts: readonly string[];
  /** Who may come in; undefined lets in whoever is on this machine. */
  readonly tokens: TokenFinder | undefined;
  /** What an operation asks of its caller; a route without an operation is asked about as undefined. */
  readonly demandOf: (operation: string | undefined) => Demand;
  /** A certificate and its key in PEM; undefined speaks plain HTTP. */
  readonly tls: TlsFiles | undefined;
  /** Told of every answer and every connection. */
  readonly metrics: RequestMetrics;
  /** Milliseconds that only go on. */
  readonly clock: () => number;
  /** Milliseconds since 1970, for the dates of answers. */
  readonly wallClock: () => number;
  /** Where plain requests for a few bytes pass by; routes say which of theirs. */
  readonly express: ExpressLane;
  /** True from the moment on when no new work is taken. */
  readonly isDraining: () => boolean;
  readonly document: DocumentHead;
}

/** The contents of the two files. */
export interface TlsFiles {
  readonly cert: Buffer;
  readonly key: Buffer;
}

/** Takes what is worth a line. */
export type Log = FastifyBaseLogger;

/** The request line and the headers together, in bytes. */
const headerLengthMax = 32 * KiB;
const urlLengthMax = 16 * KiB;
/** Longer than every name, also when each of its bytes is percent-encoded. */
const paramLengthMax = 4 * KiB;

/** Headers must arrive in this time; bodies have a watchdog of their own, so requests as a whole have no limit. */
const headersTimeoutMs = 60_000;
/** Above the idle time of usual proxies and of clients that wait for their own disk. */
const keepAliveTimeoutMs = 72_000;

/** An instance without routes. Register them, then `ready()`. */
export async function createServer(options: ServerOptions): Promise<App> {
  const app = fastify({
    logger: false,
    logController: new LogController({ disableRequestLogging: true }),
    // A logger of its own for each request costs more than naming the request in the few lines that there are.
    childLoggerFactory: () => options.log,
    genReqId: ({ headers }) => requestIdOf(headers, options.newRequestId),
    ...listenerOptions(options.tls),
    requestTimeout: 0,
    connectionTimeout: 0,
    keepAliveTimeout: keepAliveTimeoutMs,
    forceCloseConnections: 'idle',
    return503OnClosing: false,
    exposeHeadRoutes: true,
    routerOptions: { maxParamLength: paramLengthMax },
    clientErrorHandler: (error, socket) => {
      answerParserError(error, socket, { requestId: options.newRequestId() });
    },
    frameworkErrors: answerError,
  }) as unknown as App;

  app.setValidatorCompiler(compileValidator);
  app.setSerializerCompiler(compileSerializer);
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('application/json', async (request: FastifyRequest) => readJson(request.raw));
  app.addContentTypeParser(formType, async (request: FastifyRequest) => readNoForm(request.raw));
  app.setErrorHandler(answerError);
  preparePrincipals(app);
  const answers = new WholeAnswers({ wallClock: options.wallClock, keepAliveMs: keepAliveTimeoutMs });
  prepareWholeAnswers(app, answers);
  options.express.open(app.server, { ...options, answers });
  app.addHook('onRequest', judgeRequest(options));
  app.addHook('preValidation', refuseUnasked);
  options.metrics.watch(app.server, options.tls === undefined ? 'connection' : 'secureConnection');
  answerUnknownRoutes(app);
  admitBodiesOnDemand(app);
  refuseTunnels(app.server, options.newRequestId);
  await app.register(fastifyZodOpenApiPlugin);
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: options.document.title,
        version: options.document.version,
        description: options.document.description,
        license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
      },
      servers: [{ url: '/', description: 'This service' }],
      components: { securitySchemes: { token: tokenScheme } },
      tags: options.document.tags.map((tag) => ({ ...tag })),
    },
    hideUntagged: true,
    transform: fastifyZodOpenApiTransformers.transform,
    transformObject: (document) =>
      tidyDocument(fastifyZodOpenApiTransformers.transformObject(document), {
        ...options.document.facts,
        demandOf: options.demandOf,
      }),
  });
  await app.register(documentPage);
  return app;
}

/** The document as a page to browse, from files of our own, for everybody. */
async function documentPage(app: App): Promise<void> {
  app.addHook('onRoute', (route) => {
    Object.assign(route, { config: { ...route.config, isFree: true } satisfies RouteConfig });
  });
  await app.register(swaggerUi, {
    routePrefix: '/docs',
    staticCSP: pagePolicy,
    uiConfig: { docExpansion: 'list', deepLinking: true, validatorUrl: null },
  });
}

/** Files of our own and requests to ourselves, nothing else; plain HTTP stays plain, as there may be no TLS. */
const pagePolicy = [
  "default-src 'none'",
  "base-uri 'none'",
  "connect-src 'self'",
  "font-src 'self' data:",
  "form-action 'none'",
  "frame-ancestors 'none'",
  "img-src 'self' data:",
  "script-src 'self'",
  "style-src 'self'",
].join('; ');

const tokenScheme = {
  type: 'http',
  scheme: 'bearer',
  description: 'Asked for where the service has tokens. Each operation names the scope that the token needs at least.',
} as const;

/** What Node's own server is told, with TLS or without. */
function listenerOptions(tls: TlsFiles | undefined) {
  const http = {
    maxHeaderSize: headerLengthMax,
    headersTimeout: headersTimeoutMs,
    // Its absence is our problem to explain, not the parser's to refuse.
    requireHostHeader: false,
    noDelay: true,
    // What has no body is not dressed as a stream that ends: a twentieth of what a short read costs.
    optimizeEmptyRequests: true,
  };
  return tls === undefined ? { http } : { https: { ...http, ...tls } };
}

const formType = 'application/x-www-form-urlencoded';

/** The one hook that every request passes; data requests too, so it does little. */
function judgeRequest(options: ServerOptions) {
  const judgeOrigin = originJudge(options.hosts);
  return (request: FastifyRequest, reply: FastifyReply, done: (error?: Error) => void): void => {
    // Asked for once: what a route is, is put together anew each time.
    const { config, schema } = request.routeOptions as { config?: RouteConfig; schema?: { operationId?: string } };
    const operation = schema?.operationId;
    const failure = options.express.failureOf(request.raw);
    options.metrics.follow(reply.raw, operation ?? 'none', { clock: options.clock, beganAt: failure?.beganAt });
    void reply.header('request-id', request.id);
    if (request.raw.url !== undefined && request.raw.url.length > urlLengthMax) {
      done(new Fault('uri-too-long', {}));
      return;
    }
    const demand = config?.isFree === true ? 'free' : options.demandOf(operation);
    const stranger =
      options.tokens === undefined || demand === 'free' ? undefined : authenticate(request, options.tokens);
    if (stranger !== undefined) {
      done(stranger);
      return;
    }
    // Whoever asks for nothing is told so, whoever it is.
    if (request.is404) {
      done();
      return;
    }
    if (hasEmptyName(request)) {
      done(new Fault('route-not-found', {}));
      return;
    }
    if (options.isDraining()) {
      void reply.header('connection', 'close');
      if (config?.whileDraining !== true) {
        done(new Fault('draining', {}));
        return;
      }
    }
    const nameless = judgeHead(request.raw);
    if (nameless !== undefined) {
      done(nameless);
      return;
    }
    const refusal =
      options.tokens === undefined
        ? judgeOrigin(request.headers, authorityOf(request.raw))
        : judgeScope(request, demand);
    done(refusal ?? (failure && toError(failure.error)));
  };
}

function toError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown));
}

/** A path that names nothing where a name belongs is no path of ours: `/v1/images/` is not an image. */
function hasEmptyName({ params }: FastifyRequest): boolean {
  const names = params as Readonly<Record<string, string>>;
  for (const name in names) if (names[name] === '' && name !== '*') return true;
  return false;
}

/**
 * Bytes are taken as they come: unpacking them is nobody's job here, and storing them packed nobody's wish. That goes for
 * transfer codings too: the parser undoes `chunked`, and hands on what lies below another one (RFC 9112 §6.1).
 */
function judgeEncoding(request: FastifyRequest): Fault | undefined {
  const transfer = request.headers['transfer-encoding'];
  if (transfer !== undefined && transfer.trim().toLowerCase() !== 'chunked') {
    const message = 'the only transfer coding that is taken is chunked';
    return invalidRequest({ pointer: '/transfer-encoding', in: 'header', message });
  }
  const encoding = request.headers['content-encoding'];
  if (encoding === undefined || encoding === 'identity') return undefined;
  return new Fault('unsupported-media-type', { contentEncoding: encoding });
}

/** What a route of the API does not name in its schema it does not take: an option in the wrong place is not ignored. */
function refuseUnasked(request: FastifyRequest, _reply: FastifyReply, done: (error?: Error) => void): void {
  const { schema, url } = request.routeOptions;
  if (schema === undefined || url === undefined || !/^\/v1(?:\/|$)/.test(url)) {
    done(judgeEncoding(request));
    return;
  }
  const [parameter] = schema.querystring === undefined ? Object.keys(request.query as object) : [];
  if (parameter !== undefined) {
    done(invalidRequest({ pointer: `/${parameter}`, in: 'query', message: 'no such query parameter' }));
    return;
  }
  const [member] = schema.body === undefined ? Object.keys(request.body ?? {}) : [];
  const message = 'no such member';
  done(member === undefined ? judgeEncoding(request) : invalidRequest({ pointer: `/${member}`, in: 'body', message }));
}

/** What a route's `config` may say. */
export interface RouteConfig {
  /** Answered also while the service stops. */
  readonly whileDraining?: true;
  /** Part of a page that has no operation and is for everybody. */
  readonly isFree?: true;
}

/** The access log: a hook for every route but those that move image bytes. */
export function logRequest(request: FastifyRequest, reply: FastifyReply, done: () => void): void {
  request.log.info(
    {
      requestId: request.id,
      principal: principalOf(request).name,
      operation: request.routeOptions.schema?.operationId,
      method: request.method,
      path: pathOf(request),
      status: reply.statusCode,
      ms: Math.round(reply.elapsedTime),
    },
    'answered',
  );
  done();
}

function answerUnknownRoutes(app: App): void {
  const paths = new KnownPaths();
  app.addHook('onRoute', ({ url, method }) => {
    paths.add(url, typeof method === 'string' ? [method] : method);
  });
  app.setNotFoundHandler((request, reply) => {
    const allow = paths.methodsOf(pathOf(request));
    const fault = allow.length === 0 ? new Fault('route-not-found', {}) : new Fault('method-not-allowed', { allow });
    answerError(fault, request, reply);
  });
}

/** A client that asks first is told to go on when somebody wants the body, or is told the problem instead. */
function admitBodiesOnDemand(app: App): void {
  app.server.on('checkContinue', (request: IncomingMessage, response: ServerResponse) => {
    holdContinue(request, response);
    app.server.emit('request', request, response);
  });
  app.server.on('checkExpectation', (request: IncomingMessage, response: ServerResponse) => {
    app.server.emit('request', request, response);
  });
}

/** Every error ends here. */
function answerError(error: unknown, request: FastifyRequest, reply: FastifyReply): void {
  const fault = toFault(error);
  const problem = toProblem(fault, { instance: pathOf(request), requestId: request.id });
  if (problem.status >= logFromStatus && !(error instanceof ClientGone)) {
    const facts = fault instanceof Fault ? fault.context : undefined;
    const where = { requestId: request.id, path: pathOf(request), status: problem.status, code: problem.body.code };
    // Too much to do is no bug: the client is told to come again, and a line says so.
    if (problem.status === busyStatus) request.log.warn({ ...where, facts }, 'refused');
    else request.log.error({ ...where, err: error, facts }, 'failed');
  }
  if (reply.raw.headersSent) {
    reply.raw.destroy();
    return;
  }
  void reply.header('request-id', request.id);
  sendProblem(request, reply, problem);
}

const busyStatus = 503;
const logFromStatus = 500;

/** The path without the query: queries may hold what no log should. */
function pathOf(request: FastifyRequest): string {
  const url = request.raw.url ?? '/';
  const end = url.indexOf('?');
  return end === -1 ? url : url.slice(0, end);
}

const frameworkCodes: Readonly<Record<string, FaultCode>> = {
  FST_ERR_CTP_INVALID_MEDIA_TYPE: 'unsupported-media-type',
  FST_ERR_CTP_BODY_TOO_LARGE: 'content-too-large',
  FST_ERR_MAX_PARAM_LENGTH: 'uri-too-long',
};

/** Fastify's own refusals by our codes. */
function toFault(error: unknown): unknown {
  if (error instanceof Fault || !(error instanceof Error)) return error;
  const { code, statusCode, message } = error as Partial<FastifyError> & Error;
  const known = code === undefined ? undefined : frameworkCodes[code];
  if (known !== undefined) return new Fault(known, {});
  if (code?.startsWith('FST_') !== true || statusCode === undefined) return error;
  if (statusCode >= logFromStatus) return error;
  return invalidRequest({ pointer: '', in: 'request', message });
}
