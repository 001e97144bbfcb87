// A shell of its own that starts QEMU's tools. A process that Node starts is a copy of Node first, and the larger the test
// has grown the longer that takes; a small shell starts the same tool in a fraction of the time.

import { execFileSync, spawn } from 'node:child_process';
import { closeSync, constants, openSync, readSync, writeSync } from 'node:fs';
import { join } from 'node:path';

import { tempFolder } from './temp-folder.ts';

/** What a command wrote and how it ended: 128 and the number of a signal for one that was ended. */
export interface ShellAnswer {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** One shell, one command after the other. It ends with the process that started it. */
export class ToolShell {
  readonly #pid: number;
  readonly #commands: number;
  readonly #stdout: PipeEnd;
  readonly #stderr: PipeEnd;
  readonly #status: PipeEnd;

  private constructor(pid: number, ends: { commands: number; stdout: number; stderr: number; status: number }) {
    this.#pid = pid;
    this.#commands = ends.commands;
    this.#stdout = new PipeEnd(ends.stdout);
    this.#stderr = new PipeEnd(ends.stderr);
    this.#status = new PipeEnd(ends.status);
  }

  static start(): ToolShell {
    using folder = tempFolder();
    const names = ['commands', 'stdout', 'stderr', 'status'].map((name) => join(folder.path, name));
    execFileSync('mkfifo', names);
    const [commands = '', stdout = '', stderr = '', status = ''] = names;
    // A pipe opens when both of its ends do; whoever opens both at once waits for nobody.
    const both = names.map((name) => openSync(name, 'r+'));
    const theirs = [openSync(commands, 'r'), openSync(stdout, 'w'), openSync(stderr, 'w'), openSync(status, 'w')];
    const [mine, out, err, end] = [openSync(commands, 'w'), openToPoll(stdout), openToPoll(stderr), openToPoll(status)];
    const shell = spawn('sh', [], { stdio: theirs, detached: true, env: { ...process.env, LC_ALL: 'C' } });
    shell.unref();
    for (const fd of [...both, ...theirs]) closeSync(fd);
    if (shell.pid === undefined) throw new Error('the shell for tools did not start');
    return new ToolShell(shell.pid, { commands: mine, stdout: out, stderr: err, status: end });
  }

  /** Runs a command and waits for its end, at most `timeoutMs`; a command that takes longer is ended, and an error. */
  run(words: readonly string[], options: { readonly input: string; readonly timeoutMs: number }): ShellAnswer {
    const { input, timeoutMs } = options;
    const deadline = performance.now() + timeoutMs;
    const command = words.map(quoted).join(' ');
    writeAll(this.#commands, `${command} ${inputOf(input)}`);
    for (let pause = firstPauseMs; !this.#status.poll(); pause = nextPauseMs) {
      this.#stdout.poll();
      this.#stderr.poll();
      if (performance.now() > deadline) {
        process.kill(-this.#pid, 'SIGKILL');
        throw new Error(`${command} did not end in ${timeoutMs} ms`);
      }
      Atomics.wait(bell, 0, 0, pause);
    }
    this.#stdout.poll();
    this.#stderr.poll();
    return { status: Number(this.#status.take()), stdout: this.#stdout.take(), stderr: this.#stderr.take() };
  }
}

/** The reading end of a pipe: what has arrived is gathered without waiting for more. */
class PipeEnd {
  readonly #fd: number;
  #parts: Buffer[] = [];

  constructor(fd: number) {
    this.#fd = fd;
  }

  /** Gathers what is there; whether anything was. */
  poll(): boolean {
    for (let found = false; ; found = true) {
      const length = this.#read();
      if (length === 0) return found;
      this.#parts.push(Buffer.from(piece.subarray(0, length)));
    }
  }

  take(): string {
    const text = Buffer.concat(this.#parts).toString('utf8');
    this.#parts = [];
    return text;
  }

  #read(): number {
    try {
      return readSync(this.#fd, piece);
    } catch (error) {
      if (error instanceof Error && 'code' in error && error.code === 'EAGAIN') return 0;
      throw error;
    }
  }
}

const piece = Buffer.alloc(64 * 1024);
const bell = new Int32Array(new SharedArrayBuffer(4));

/** Few commands end sooner, in milliseconds. */
const firstPauseMs = 6;
const nextPauseMs = 2;

function openToPoll(path: string): number {
  return openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
}

/** The rest of a command line: where the command reads from, and that its end is told. */
function inputOf(input: string): string {
  const tellEnd = '; echo $? >&3\n';
  if (input === '') return `</dev/null${tellEnd}`;
  return `<<'${endOfInput}' 3>&-${tellEnd}${input.endsWith('\n') ? input : `${input}\n`}${endOfInput}\n`;
}

const endOfInput = 'end-of-input';

function quoted(word: string): string {
  return `'${word.replaceAll("'", String.raw`'\''`)}'`;
}

function writeAll(fd: number, text: string): void {
  const bytes = Buffer.from(text);
  for (let done = 0; done < bytes.length;) done += writeSync(fd, bytes, done);
}
