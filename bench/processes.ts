// Starts and ends the processes that are compared, and times commands.

import { spawn, spawnSync } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';

/** What to start: a TypeScript file of ours, its words and its environment. */
export interface Program {
  readonly file: string;
  readonly words: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
}

/** A process of ours; what it prints is kept for the case that it fails. */
export class Child {
  readonly process: ChildProcess;
  #printed = '';

  constructor({ file, words, environment }: Program, nodeOptions: readonly string[]) {
    this.process = spawn(process.execPath, [...nodeOptions, file, ...words], {
      env: { ...process.env, ...environment },
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    });
    for (const stream of [this.process.stdout, this.process.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.#printed = (this.#printed + text).slice(-printedMax);
      });
    }
  }

  get printed(): string {
    return this.#printed;
  }

  /** Until it prints something like this; throws when it ends first. */
  async untilPrinted(pattern: RegExp): Promise<RegExpExecArray> {
    for (;;) {
      const found = pattern.exec(this.#printed);
      if (found !== null) return found;
      if (this.process.exitCode !== null) throw new Error(`ended too early:\n${this.#printed}`);
      await new Promise((resolve) => setTimeout(resolve, pollMs));
    }
  }

  /** The next message that it sends. */
  async nextMessage(): Promise<unknown> {
    const ended = new AbortController();
    const onExit = (): void => {
      ended.abort(new Error(`ended too early:\n${this.#printed}`));
    };
    this.process.once('exit', onExit);
    try {
      const [message] = (await once(this.process, 'message', { signal: ended.signal })) as [unknown];
      return message;
    } finally {
      this.process.off('exit', onExit);
    }
  }

  /** CPU time of all its threads so far. */
  get cpuSeconds(): number {
    const stat = readFileSync(`/proc/${String(this.process.pid)}/stat`, 'utf8');
    // The second field is a name in parentheses; the times are the 14th and the 15th.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return (Number(fields[11]) + Number(fields[12])) / ticksPerSecond;
  }

  async end(): Promise<void> {
    if (this.process.exitCode !== null || this.process.signalCode !== null) return;
    const gone = once(this.process, 'exit');
    this.process.kill('SIGTERM');
    await gone;
  }
}

const printedMax = 64 * 1024;
const pollMs = 10;
const ticksPerSecond = 100;

/** Seconds that a command takes from its start to its end; throws when it fails. */
export function timeCommand(command: string, words: readonly string[]): number {
  const startedAt = performance.now();
  runCommand(command, words);
  return (performance.now() - startedAt) / 1000;
}

/** What a command prints. */
export function runCommand(command: string, words: readonly string[]): string {
  const { status, stdout, stderr, error } = spawnSync(command, words, { encoding: 'utf8' });
  if (error !== undefined) throw error;
  if (status === 0) return stdout;
  throw new Error(`${command} ${words.join(' ')} ended with ${String(status)}: ${stderr}`);
}

/** Asks the kernel to write everything out, so that what is measured next starts on a quiet disk. */
export function settleDisk(): void {
  runCommand('sync', []);
}
