// QEMU's own tools as plain calls: the judge of everything that concerns the format.

import { constants } from 'node:os';

import type { ShellAnswer } from './tool-shell.ts';
import { ToolShell } from './tool-shell.ts';

/** What a tool answered. */
export interface ToolAnswer {
  readonly exit: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** How qemu-io opens its image. */
export interface QemuIoOptions {
  /** `raw` or `qcow2`; the format is never probed. */
  readonly format: 'qcow2' | 'raw';
  readonly readOnly: boolean;
  /** `-t unsafe`: no sync reaches the disk; for making test images fast. */
  readonly syncs: boolean;
  /** `-d`: what a discard does; qemu-io's own default is `unmap`. */
  readonly discard: 'unmap' | 'ignore';
}

/** One run of `qemu-img map --output=json`. */
export interface MapRun {
  readonly start: number;
  readonly length: number;
  readonly depth: number;
  readonly present: boolean;
  readonly zero: boolean;
  readonly data: boolean;
  readonly offset?: number;
}

/** The report of `qemu-img check --output=json`; counters that are 0 are left out by qemu-img (CHK-15). */
export interface CheckJson {
  readonly 'check-errors': number;
  readonly 'corruptions'?: number;
  readonly 'leaks'?: number;
  readonly 'corruptions-fixed'?: number;
  readonly 'leaks-fixed'?: number;
  readonly 'image-end-offset'?: number;
  readonly 'total-clusters'?: number;
  readonly 'allocated-clusters'?: number;
  readonly 'fragmented-clusters'?: number;
  readonly 'compressed-clusters'?: number;
}

/** Exit codes of a check (CHK-14): 0 clean, 1 could not check, 2 corruptions, 3 leaks. `json` only when it reported. */
export interface CheckAnswer {
  readonly exit: number;
  readonly json: CheckJson | undefined;
  readonly stderr: string;
}

/** Runs a tool and gives its answer whatever it is; a tool that is missing or hangs is an error of the test. */
export function runTool(tool: 'qemu-img' | 'qemu-io', args: readonly string[], input: string): ToolAnswer {
  let answer = inShell([tool, ...args], input);
  for (let again = 0; again < unmeasuredMax && answer.stderr.includes(unmeasured); again += 1) {
    answer = inShell([tool, ...args], input);
  }
  if (answer.status === statusOfMissing) throw new Error(`${tool} did not run; is qemu-utils installed?`);
  if (answer.status > statusOfMissing) {
    throw new Error(`${tool} ${args.join(' ')} was ended by ${signalOf(answer.status)}`);
  }
  return { exit: answer.status, stdout: answer.stdout, stderr: answer.stderr };
}

let shell: ToolShell | undefined;

/** In the shell of this process; one that could not bring a command to its end is not used any more. */
function inShell(words: readonly string[], input: string): ShellAnswer {
  const used = (shell ??= ToolShell.start());
  shell = undefined;
  const answer = used.run(words, { input, timeoutMs: toolTimeoutMs });
  shell = used;
  return answer;
}

/**
 * QEMU measures its key derivation by CPU time, and gives up with these words when a busy machine has given it none; then
 * it is asked again.
 */
const unmeasured = 'Unable to get accurate CPU usage';
const unmeasuredMax = 20;

/** What a shell says of a command that it does not find; above it are ends by a signal. */
const statusOfMissing = 127;

function signalOf(status: number): string {
  const number = status - statusOfMissing - 1;
  const [name] = Object.entries(constants.signals).find(([, value]) => value === number) ?? [`signal ${number}`];
  return name;
}

/** Runs qemu-img, which must succeed; returns what it printed. */
export function qemuImg(...args: readonly string[]): string {
  return succeeded('qemu-img', args, runTool('qemu-img', args, ''));
}

/**
 * Runs qemu-io over `path` with the commands on its standard input, in one process; every one must succeed. qemu-io
 * exits with 0 also after failed commands, so its words are read.
 */
export function qemuIo(path: string, commands: readonly string[], options: QemuIoOptions): string {
  const cache = options.syncs ? 'writeback' : 'unsafe';
  const flags = ['-f', options.format, '-t', cache, '-d', options.discard, ...(options.readOnly ? ['-r'] : [])];
  const answer = runTool('qemu-io', [...flags, path], `${commands.join('\n')}\nquit\n`);
  const output = succeeded('qemu-io', [...flags, path], answer);
  const complaint = /^(?:qemu-io> )*(?:.*(?:failed|error|invalid|not found|No such).*)$/im.exec(output);
  if (complaint !== null || answer.stderr.trim() !== '') {
    throw new Error(`qemu-io ${path}: ${complaint?.[0] ?? answer.stderr.trim()}`);
  }
  return output;
}

/** What an encrypted image is made and opened with: the object that holds the passphrase, and the option that names it. */
export const keyObject = ['--object', 'secret,id=key,data=wrench'] as const;
export const keyOption = 'encrypt.key-secret=key';

/** An encrypted image as `--image-opts` names it, beside {@link keyObject}. */
export function unlocking(path: string): string {
  return `driver=qcow2,file.filename=${path},${keyOption}`;
}

/** Checks an image; `repair` is what `-r` gets. An encrypted one needs its key for that. */
export function checkImage(path: string, repair: 'none' | 'leaks' | 'all', isEncrypted = false): CheckAnswer {
  const repairFlags = repair === 'none' ? [] : ['-r', repair];
  const image = isEncrypted ? [...keyObject, '--image-opts', unlocking(path)] : ['-f', 'qcow2', path];
  const args = ['check', '--output=json', ...repairFlags, ...image];
  const { exit, stdout, stderr } = runTool('qemu-img', args, '');
  const start = stdout.indexOf('{');
  return { exit, json: start < 0 ? undefined : (JSON.parse(stdout.slice(start)) as CheckJson), stderr };
}

/** A file and its format, for comparing. */
export interface FormattedFile {
  readonly path: string;
  readonly format: 'qcow2' | 'raw';
}

/** Whether two images read the same; a surplus that reads as zero does not count, as in qemu-img. */
export function compareImages(one: FormattedFile, other: FormattedFile): boolean {
  const args = ['compare', '-q', '-f', one.format, '-F', other.format, one.path, other.path];
  const answer = runTool('qemu-img', args, '');
  if (answer.exit > 1) throw new Error(`qemu-img ${args.join(' ')}: ${answer.stderr}`);
  return answer.exit === 0;
}

/** The map of an image with the chain below it. */
export function mapJson(path: string): readonly MapRun[] {
  return JSON.parse(qemuImg('map', '-f', 'qcow2', '--output=json', path)) as readonly MapRun[];
}

/** What qemu-img tells of an image. */
export function infoJson(path: string): Readonly<Record<string, unknown>> {
  return JSON.parse(qemuImg('info', '-f', 'qcow2', '--output=json', path)) as Readonly<Record<string, unknown>>;
}

const toolTimeoutMs = 60_000;

function succeeded(tool: string, args: readonly string[], answer: ToolAnswer): string {
  if (answer.exit !== 0) {
    throw new Error(`${tool} ${args.join(' ')} ended with ${answer.exit}: ${answer.stderr}${answer.stdout}`);
  }
  return answer.stdout;
}
