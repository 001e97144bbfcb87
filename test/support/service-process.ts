// The service as a process of its own, as `npm start` starts it, and shell lines against it.

import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

import { KiB } from '../../src/base/units.ts';

/** A process that answers. */
export interface ServiceProcess extends AsyncDisposable {
  readonly url: string;
  /** The line in which it says where it listens. */
  readonly announcement: string;
  readonly child: ChildProcess;
  /** Ends it by a signal; its exit code. */
  readonly end: (signal: 'SIGTERM' | 'SIGINT') => Promise<number | null>;
}

/** How a process has ended. */
export interface Ending {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

const root = fileURLToPath(new URL('../..', import.meta.url));
const main = fileURLToPath(new URL('../../src/main.ts', import.meta.url));

/** Only a watchdog: a busy machine starts threads slowly. */
const startMsMax = 60_000;

/** What the system allows the process; undefined for everything. */
export interface ProcessLimits {
  /** Bytes of any one file, in whole KiB: a write beyond fails as on a full disk. */
  readonly fileLengthMax: number | undefined;
}

const unlimited: ProcessLimits = { fileLengthMax: undefined };

/** Starts the service with some settings and waits until it says where it listens. */
export async function startService(
  settings: Readonly<Record<string, string>>,
  limits: ProcessLimits = unlimited,
): Promise<ServiceProcess> {
  const child = launch({ QCOWD_PORT: '0', ...settings }, limits);
  const { url, announcement } = await readAnnouncement(child);
  const end = async (signal: 'SIGTERM' | 'SIGINT'): Promise<number | null> => {
    if (child.exitCode === null && child.signalCode === null) {
      const exit = once(child, 'exit');
      child.kill(signal);
      await exit;
    }
    return child.exitCode;
  };
  return {
    url,
    announcement,
    child,
    end,
    [Symbol.asyncDispose]: async () => {
      await end('SIGTERM');
    },
  };
}

/**
 * Runs the service with settings that it cannot start with, or with somebody who ends it `meanwhile`. One that does not
 * end by itself is killed: its code is null.
 */
export async function failToStart(
  settings: Readonly<Record<string, string>>,
  meanwhile?: (child: ChildProcess) => Promise<void>,
): Promise<Ending> {
  const child = launch(settings, unlimited);
  const watchdog = setTimeout(() => child.kill('SIGKILL'), startMsMax);
  try {
    const [ending] = await Promise.all([gather(child), meanwhile?.(child)]);
    return ending;
  } finally {
    clearTimeout(watchdog);
  }
}

/** Runs shell lines; any that fails ends them. */
export async function runShell(
  lines: readonly string[],
  options: { readonly folder: string; readonly variables: Readonly<Record<string, string>> },
): Promise<Ending> {
  const child = spawn('bash', ['-exuo', 'pipefail', '-c', lines.join('\n')], {
    cwd: options.folder,
    env: { ...process.env, ...options.variables },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  return gather(child);
}

/** The curl lines of the first day, as the contract has them; B is where the service is. */
export const firstDayLines = [
  `curl -sf $B/v1/images -H 'content-type: application/json' -d '{"name":"vm1","virtualSize":10737418240}'`,
  `curl -sf -T part.bin -H 'Content-Range: bytes 0-65535/*' $B/v1/images/vm1/data`,
  `curl -sf -r 0-65535 $B/v1/images/vm1/data | cmp - part.bin`,
  `curl -sf $B/v1/images/vm1/snapshots -H 'content-type: application/json' -d '{"name":"s1"}'`,
  `curl -sf $B/v1/images/vm1/resize -H 'content-type: application/json' -d '{"virtualSize":21474836480}'`,
  `curl -sf -X POST $B/v1/images/vm1/check`,
  `curl -sf -T cloud.qcow2 $B/v1/imports/base`,
  `curl --fail-with-body -sC - -o base.qcow2 $B/v1/images/base/file`,
  `curl -sf -X DELETE $B/v1/images/vm1`,
] as const;

function launch(settings: Readonly<Record<string, string>>, { fileLengthMax }: ProcessLimits): ChildProcess {
  const inherited = Object.entries(process.env).filter(([key]) => !key.startsWith('QCOWD_'));
  const words = [process.execPath, main];
  if (fileLengthMax !== undefined) words.unshift('bash', '-c', `ulimit -f ${fileLengthMax / KiB} && exec "$0" "$@"`);
  const [command = '', ...args] = words;
  return spawn(command, args, {
    cwd: root,
    env: { ...Object.fromEntries(inherited), ...settings },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
}

async function readAnnouncement(child: ChildProcess): Promise<Pick<ServiceProcess, 'url' | 'announcement'>> {
  let [log, errors] = ['', ''];
  child.stdout?.on('data', (piece: Buffer) => {
    log += piece.toString();
  });
  return new Promise((resolve, reject) => {
    const fail = (why: string): void => {
      clearTimeout(watchdog);
      reject(new Error(`the service ${why}: ${errors}${log}`));
    };
    const watchdog = setTimeout(() => {
      child.kill('SIGKILL');
      fail('did not start in time');
    }, startMsMax);
    child.once('exit', () => fail('ended before it listened'));
    child.stderr?.on('data', (piece: Buffer) => {
      errors += piece.toString();
      const [announcement, url] = /^qcowd: listening on (https?:[^, ]+)[, ].*$/m.exec(errors) ?? [];
      if (announcement === undefined || url === undefined) return;
      clearTimeout(watchdog);
      resolve({ url, announcement });
    });
  });
}

async function gather(child: ChildProcess): Promise<Ending> {
  let [stdout, stderr] = ['', ''];
  child.stdout?.on('data', (piece: Buffer) => {
    stdout += piece.toString();
  });
  child.stderr?.on('data', (piece: Buffer) => {
    stderr += piece.toString();
  });
  await once(child, 'close');
  return { code: child.exitCode, stdout, stderr };
}
