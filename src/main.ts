// The process: environment in, signals in, exit code out.

import { readFileSync } from 'node:fs';
import { flushCompileCache } from 'node:module';
import { availableParallelism } from 'node:os';

import { createApplication } from './app.ts';
import type { Application } from './app.ts';
import { StartError } from './base/start-error.ts';
import { ConfigError, loadConfig } from './config.ts';
import type { Config } from './config.ts';

const endingSignals = ['SIGTERM', 'SIGINT'] as const;

try {
  await main();
} catch (error) {
  process.stderr.write(`qcowd: ${explain(error)}\n`);
  process.exit(1);
}

async function main(): Promise<void> {
  const config = loadConfig(process.env, { cores: availableParallelism() });
  const started = endAtOnceOnSignals();
  const application = await createApplication({ config, identity: readIdentity(), engine: 'threads' });
  started();
  const ending = endOnSignals(application);
  // A file that may not grow (RLIMIT_FSIZE) is answered as a full disk, and ends nothing.
  process.on('SIGXFSZ', () => undefined);
  if (config.http.tokensFile !== undefined || config.http.tls !== undefined) reloadOnHangUp(application);
  try {
    const { url, address, isEverywhere } = await application.listen();
    application.log.info({ url, address, dataDirectory: config.data.directory }, 'ready');
    // Whoever starts the service learns where it is, whatever the log leaves out.
    const beside = isEverywhere ? ` and on all other addresses of this machine (${address})` : '';
    process.stderr.write(`qcowd: listening on ${url}${beside}, data in ${config.data.directory}\n`);
    // Where NODE_COMPILE_CACHE says so, what was compiled is kept now: a killed process would keep nothing.
    flushCompileCache();
  } catch (error) {
    // Whoever ends it while it begins to listen has stopped it, and exits when that is done.
    if (ending.isAsked()) return;
    await application.stop();
    throw explainListen(error, config);
  }
}

function readIdentity(): { readonly name: string; readonly version: string } {
  const text = readFileSync(new URL('../package.json', import.meta.url), 'utf8');
  const { name, version } = JSON.parse(text) as { readonly name: string; readonly version: string };
  return { name, version };
}

/**
 * Nobody has been served yet, and what the start repairs may be cut as by a crash: the next start goes on with it. The
 * first process of a container is ended by no signal that it does not take. Returns how this ends.
 */
function endAtOnceOnSignals(): () => void {
  const end = (): void => {
    process.stderr.write('qcowd: stopped before it was ready. The next start repairs what is left to repair.\n');
    process.exit(0);
  };
  for (const signal of endingSignals) process.on(signal, end);
  return () => {
    for (const signal of endingSignals) process.off(signal, end);
  };
}

/** npm passes on the signal that its whole group gets, so that one wish comes twice. */
const oneWishMs = 1_000;

/** The first signal ends in order; a later one, when somebody does not want to wait, at once. */
function endOnSignals(application: Application): { readonly isAsked: () => boolean } {
  const { log } = application;
  let askedAtMs: number | undefined;
  for (const signal of endingSignals) {
    process.on(signal, () => {
      if (askedAtMs !== undefined) {
        if (performance.now() - askedAtMs > oneWishMs) process.exit(1);
        return;
      }
      askedAtMs = performance.now();
      log.info({ signal }, 'stopping');
      void application.stop().then((failures) => {
        for (const { phase, error, isCut } of failures) {
          if (isCut) log.warn({ err: error, phase }, 'cut while stopping');
          else log.error({ err: error, phase }, 'failed while stopping');
        }
        log.info('stopped');
        process.exit(failures.every(({ isCut }) => isCut) ? 0 : 1);
      });
    });
  }
  return { isAsked: () => askedAtMs !== undefined };
}

/** Without files to read again, a hang-up means what it means to every process. */
function reloadOnHangUp(application: Application): void {
  const { log } = application;
  process.on('SIGHUP', () => {
    application.reload().then(
      () => log.info('read the tokens and the certificate again'),
      (error: unknown) => log.error({ err: error }, 'kept the old tokens and certificate: the new ones cannot be used'),
    );
  });
}

function explainListen(error: unknown, { http }: Config): unknown {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  const address = `${http.host}:${http.port}`;
  if (code === 'EADDRINUSE') {
    return new StartError(
      `${address} is in use by another process. Stop it, or set QCOWD_PORT to another port (0 takes any).`,
    );
  }
  if (code === 'EACCES') {
    return new StartError(`${address} may not be bound by this user. Set QCOWD_PORT to a port of 1024 or more.`);
  }
  if (code === 'EADDRNOTAVAIL' || code === 'ENOTFOUND' || code === 'EAI_AGAIN') {
    return new StartError(`${http.host} is no address of this machine. Set QCOWD_HOST to one of its addresses.`);
  }
  return error;
}

function explain(error: unknown): string {
  if (error instanceof ConfigError || error instanceof StartError) return error.message;
  if (error instanceof Error) return `could not start: ${error.stack ?? error.message}`;
  return `could not start: ${String(error)}`;
}
