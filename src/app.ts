// The composition root: every object of the service is made here, once, in order, and ended in the reverse order.

import { randomBytes } from 'node:crypto';
import { Server as TlsServer } from 'node:https';

import { pino } from 'pino';

import { documentHead } from '../routes/document.ts';
import { allRoutes } from '../routes/index.ts';
import type { ProcessFigures } from '../routes/route-parts.ts';
import { demandOf } from '../routes/operation-scopes.ts';
import { assert } from './base/assert.ts';
import { Fault } from './base/fault.ts';
import { IdSource } from './base/id-source.ts';
import { StartError } from './base/start-error.ts';
import { GiB } from './base/units.ts';
import { SqliteCatalog } from './catalog/sqlite-catalog.ts';
import type { Config } from './config.ts';
import { Entrance } from './entrance.ts';
import { ExpressLane } from './http/express-lane.ts';
import { RequestMetrics } from './http/request-metrics.ts';
import { requestNames } from './http/request-names.ts';
import type { App } from './http/schema.ts';
import { createServer } from './http/server.ts';
import type { Log, ServerOptions } from './http/server.ts';
import type { EnginePool } from './pool/engine-pool.ts';
import { InlinePool } from './pool/inline-pool.ts';
import { poolLimits } from './pool/limits.ts';
import { qcow2Engine } from './pool/qcow2-engine.ts';
import { ThreadPool, workerEntry } from './pool/thread-pool.ts';
import { createServices } from './services/services.ts';
import type { BackgroundFailure } from './services/services.ts';
import { DataDirectory } from './store/data-directory.ts';
import { DirectoryLock } from './store/directory-lock.ts';
import type { DirectoryLockOrReason } from './store/directory-lock.ts';
import { endPhases } from './stop-phases.ts';
import type { StopFailure, StopPhase } from './stop-phases.ts';

export interface ApplicationOptions {
  readonly config: Config;
  readonly identity: { readonly name: string; readonly version: string };
  /** `threads` runs images on worker threads; `inline` on this one, for tests and for the document. */
  readonly engine: 'threads' | 'inline';
}

/** Where the service listens. */
export interface ListeningPlace {
  /** Works from this machine, also when the service listens on all its addresses. */
  readonly url: string;
  /** What was bound, with the port: `0.0.0.0:8080`. */
  readonly address: string;
  /** Whether that is every address of this machine. */
  readonly isEverywhere: boolean;
}

/** The service, made and ready to be asked, not listening yet. */
export interface Application {
  readonly server: App;
  readonly log: Log;
  /** Binds the address of the settings. */
  listen(): Promise<ListeningPlace>;
  /** Reads the files of tokens and certificate again; what was known before stays when they cannot be used. */
  reload(): Promise<void>;
  /** Ends everything in named phases, together within {@link stopMsMax}. Returns what went wrong in them. */
  stop(): Promise<readonly StopFailure[]>;
}

/** Makes the whole service over the data directory. What was made is ended again when something fails. Throws {@link StartError}. */
export async function createApplication(options: ApplicationOptions): Promise<Application> {
  const { config } = options;
  const state = { draining: false };
  const phases: StopPhase[] = [];
  const stop = async (): Promise<readonly StopFailure[]> => {
    state.draining = true;
    return endPhases(phases.splice(0).toReversed(), { limitMs: stopMsMax, clock: () => performance.now() });
  };
  try {
    const directory = await openDirectory(config.data.directory);
    const { lock, warning } = ownDirectory(config.data.directory);
    phases.push({
      name: 'give the data directory back',
      spareMs: 0,
      mayBeCut: true,
      end: async () => lock?.[Symbol.dispose](),
    });
    const catalog = openCatalog(directory.catalogPath);
    phases.push({ name: 'close the catalog', spareMs: catalogSpareMs, mayBeCut: true, end: () => catalog.close() });
    // Before the server is made: the two are got ready side by side.
    const early: BackgroundFailure[] = [];
    let report = (failure: BackgroundFailure): void => void early.push(failure);
    const hostCopies = await choosesHostCopies(config.pool.hostCopy, directory);
    const { pool, up, allUp } = beginPool(options, { hostCopies, report: (failure) => report(failure) });
    phases.push({ name: 'end the engine threads', spareMs: threadsSpareMs, mayBeCut: true, end: () => pool.close() });
    // Judged when all else stands; until then nobody would hear it.
    up.catch(() => undefined);
    allUp.catch((error: unknown) => report({ doing: 'starting an engine thread', imageId: undefined, error }));
    const entrance = await Entrance.open({
      ...config.http,
      dataDirectory: config.data.directory,
      entropy: randomBytes,
    });
    const metrics = new RequestMetrics();
    const log = pino({ level: config.log.level });
    const express = new ExpressLane();
    const server = await dressServer({
      log,
      newRequestId: requestNames(randomBytes(processChanceLength)),
      hosts: config.http.hosts,
      tokens: entrance.tokens,
      demandOf,
      tls: entrance.certificate,
      metrics,
      clock: () => performance.now(),
      wallClock: Date.now,
      express,
      isDraining: () => state.draining,
      document: documentHead(options.identity.version),
    });
    report = ({ doing, imageId, error }) => {
      log.error({ err: error, doing, imageId }, 'failed in the background');
    };
    early.forEach(report);
    if (warning !== undefined) log.warn(warning);
    if (hostCopies) log.info('data goes from file to file by the file system itself');
    if (entrance.adminTokenPath !== undefined) {
      log.warn({ path: entrance.adminTokenPath }, 'asking for the admin token that is kept in this file');
    }
    const ids = new IdSource({ clock: Date.now, entropy: randomBytes });
    const services = createServices({
      catalog,
      directory,
      pool,
      clock: Date.now,
      steadyClock: () => performance.now(),
      newId: (prefix) => ids.next(prefix),
      entropy: randomBytes,
      imageIdleMs: config.images.idleMs,
      freeBytesMin,
      quotaBytes: config.data.quotaBytes,
      runtimeDefaults: config.images.runtime,
      report: (failure) => report(failure),
    });
    phases.push({
      name: 'end what was cut',
      spareMs: workSpareMs,
      mayBeCut: true,
      end: () => services.whenOver(),
    });
    phases.push({
      name: 'flush and close images',
      spareMs: imagesSpareMs,
      mayBeCut: false,
      end: () => services.stop(),
    });
    await services.start();
    await server.register(
      allRoutes({
        services,
        express,
        identity: options.identity,
        isDraining: () => state.draining,
        metrics,
        processFigures,
      }),
    );
    await server.ready();
    await up;
    phases.push({
      name: 'finish requests',
      spareMs: requestsSpareMs,
      mayBeCut: true,
      end: () => closeServer(server),
    });
    phases.push({
      name: 'let go of those who wait, and cut jobs',
      spareMs: requestsSpareMs,
      mayBeCut: true,
      end: async () => services.prepareToStop(),
    });
    const listen = async (): Promise<ListeningPlace> => {
      const url = await server.listen({ host: config.http.host, port: config.http.port });
      // Nobody is asked at the address that stands for all: this machine reaches itself by loopback.
      return { url: url.replace('//[::]:', '//[::1]:'), ...boundTo(server) };
    };
    const reload = async (): Promise<void> => {
      await entrance.reloadTokens();
      const certificate = await entrance.rereadCertificate();
      if (certificate !== undefined && server.server instanceof TlsServer) server.server.setSecureContext(certificate);
    };
    return { server, log, listen, reload, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** In bytes: two processes are not told apart by less. */
const processChanceLength = 9;

function boundTo(server: App): Omit<ListeningPlace, 'url'> {
  const bound = server.server.address();
  assert(bound !== null && typeof bound === 'object', 'whoever listens has an address and a port');
  const { address, family, port } = bound;
  const host = family === 'IPv6' ? `[${address}]` : address;
  return { address: `${host}:${port}`, isEverywhere: address === '0.0.0.0' || address === '::' };
}

/** What this process takes of the machine. */
function processFigures(): ProcessFigures {
  const { user, system } = process.cpuUsage();
  return { residentBytes: process.memoryUsage.rss(), cpuSeconds: (user + system) / microsecondsPerSecond };
}

const microsecondsPerSecond = 1_000_000;

/** Below so much free space readiness says that it is low. */
const freeBytesMin = 1 * GiB;

/** Who stops us with a signal kills us some time later: containers after 10 seconds. Ending the process takes some of them. */
const stopMsMax = 9_500;

/** How long requests may take to finish before their connections are cut. */
const requestsMsMax = 8_000;

/** What each phase leaves to those after it. */
const requestsSpareMs = 1_300;
const imagesSpareMs = 200;
const workSpareMs = 150;
const threadsSpareMs = 100;
const catalogSpareMs = 50;

/** A certificate that is none is told as a thing to mend. */
async function dressServer(options: ServerOptions): Promise<App> {
  try {
    return await createServer(options);
  } catch (error) {
    if (options.tls === undefined || !(error instanceof Error)) throw error;
    throw new StartError(
      `QCOWD_TLS_CERT_FILE and QCOWD_TLS_KEY_FILE: the two cannot be used together (${error.message}). Give a PEM certificate and its own key.`,
    );
  }
}

/** Two processes over one directory would write to the same images. */
async function openDirectory(path: string): Promise<DataDirectory> {
  try {
    return await DataDirectory.open(path);
  } catch (error) {
    throw unusable(error);
  }
}

function unusable(error: unknown): StartError {
  const reason = error instanceof Error ? error.message : String(error);
  return new StartError(
    `QCOWD_DATA_DIR: the folder cannot be made or used (${reason}). Give it to the user that runs the service, or choose another one.`,
    { cause: error },
  );
}

function takeLock(path: string): DirectoryLockOrReason {
  try {
    return DirectoryLock.take(path);
  } catch (error) {
    throw unusable(error);
  }
}

/** What SQLite or the system says of the file is for whoever runs the service; a bug of ours keeps its own words. */
function openCatalog(path: string): SqliteCatalog {
  try {
    return SqliteCatalog.open(path);
  } catch (error) {
    if (error instanceof Fault && error.code === 'catalog-too-new') {
      throw new StartError(
        `${path} was written by a later version of qcowd. Start that version, or give this one a data directory of its own.`,
        { cause: error },
      );
    }
    if (!(error instanceof Error && 'code' in error && /^(?:SQLITE_|E[A-Z]+$)/.test(String(error.code)))) throw error;
    throw new StartError(
      `${path}: the catalog cannot be opened (${error.message}). Make room on the disk if it is full; otherwise give the file to the user that runs the service, or bring the data directory back from a backup.`,
      { cause: error },
    );
  }
}

function ownDirectory(path: string): {
  readonly lock: DirectoryLock | undefined;
  readonly warning: string | undefined;
} {
  const answer = takeLock(path);
  switch (answer.kind) {
    case 'own':
      return { lock: answer.lock, warning: undefined };
    case 'unavailable':
      return {
        lock: undefined,
        warning: `the data directory cannot be locked (${answer.reason}): do not start a second process on it`,
      };
    case 'taken':
      throw new StartError(
        `${path} belongs to another process of qcowd. Stop that one, or set QCOWD_DATA_DIR to another folder.`,
      );
  }
}

/** Moving bytes inside the kernel gains nothing, and finds no zeroes: only sharing them does. */
async function choosesHostCopies(wish: Config['pool']['hostCopy'], directory: DataDirectory): Promise<boolean> {
  return wish === 'auto' ? directory.sharesBlocks() : wish === 'always';
}

function beginPool(
  { config, engine }: ApplicationOptions,
  { hostCopies, report }: { readonly hostCopies: boolean; readonly report: (failure: BackgroundFailure) => void },
): { readonly pool: EnginePool; readonly up: Promise<void>; readonly allUp: Promise<void> } {
  const shared = { imageIdleMs: config.images.idleMs, limits: poolLimits, report };
  if (engine === 'inline') {
    const pool = new InlinePool({
      ...shared,
      engine: qcow2Engine({ locks: config.pool.locks, hostCopies, cacheBytes: config.pool.cacheBytes }),
      clock: () => performance.now(),
    });
    return { pool, up: Promise.resolve(), allUp: Promise.resolve() };
  }
  return ThreadPool.begin({
    ...shared,
    threads: config.pool.engineThreads,
    entry: workerEntry,
    locks: config.pool.locks,
    hostCopies,
    cacheBytes: config.pool.cacheBytes,
    codecThreads: config.pool.codecThreads,
  });
}

/**
 * Stops listening and waits for the requests under way. Connections that clients keep open for later would hold this up
 * for their whole idle time, so they are closed again and again until the last answer is out. Those that are cut are not
 * waited for: the time belongs to the images.
 */
async function closeServer(server: App): Promise<void> {
  const late = Promise.withResolvers<undefined>();
  const sweep = setInterval(() => server.server.closeIdleConnections(), sweepMs);
  const cut = setTimeout(() => {
    server.server.closeAllConnections();
    late.resolve(undefined);
  }, requestsMsMax);
  try {
    await Promise.race([server.close(), late.promise]);
  } finally {
    clearInterval(sweep);
    clearTimeout(cut);
  }
}

const sweepMs = 50;
