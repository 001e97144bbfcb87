// How a test image is made with QEMU's own tools: a recipe is data, and this cooks it in a folder of its own.

import { closeSync, mkdirSync, openSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';

import { Prng } from './prng.ts';
import { qemuImg, qemuIo, runTool } from './qemu-img.ts';

/** The top file of every recipe. */
export const topFile = 'image.qcow2';

/** One step; every file is named relative to the image's folder. */
export type RecipeStep =
  /** `qemu-img` with these arguments; a file is an argument that starts with `./`. */
  | { readonly kind: 'img'; readonly args: readonly string[] }
  /** One qemu-io process with these commands; `abort` ends it like a crash. */
  | { readonly kind: 'io'; readonly file: string; readonly commands: readonly string[]; readonly abort: boolean }
  /** A file of `length` bytes: so many random ones first, zeroes behind them. */
  | {
      readonly kind: 'bytes';
      readonly file: string;
      readonly seed: number;
      readonly random: number;
      readonly length: number;
    }
  /** A raw disk of `length` bytes that holds pieces of one value each. */
  | { readonly kind: 'raw'; readonly file: string; readonly length: number; readonly pieces: readonly RawPiece[] }
  /** Bytes of a file overwritten behind QEMU's back; `hex` without spaces. */
  | { readonly kind: 'patch'; readonly file: string; readonly offset: number; readonly hex: string }
  | { readonly kind: 'truncate'; readonly file: string; readonly length: number };

export interface RawPiece {
  readonly offset: number;
  readonly length: number;
  readonly value: number;
}

/** One link of the chain below an image. */
export interface RecipeBacking {
  readonly fileName: string;
  readonly format: 'qcow2' | 'raw';
}

/** How a recipe's reading is judged: all bytes, or for huge disks some spans. */
export type RecipeJudge =
  | { readonly kind: 'all' }
  | { readonly kind: 'spans'; readonly spans: readonly { readonly offset: number; readonly length: number }[] };

/** One image of the matrix. */
export interface ImageRecipe {
  /** Unique; names the image in tests and its folder. */
  readonly id: string;
  /** What is odd about it, for a person. */
  readonly oddity: string;
  readonly steps: readonly RecipeStep[];
  /** The chain below, nearest first. */
  readonly backing: readonly RecipeBacking[];
  /** The names of its snapshots, in the order of the table. */
  readonly snapshots: readonly string[];
  readonly judge: RecipeJudge;
}

/** A recipe without chain and snapshots that is compared whole; `change` for the others. */
export function recipe(
  id: string,
  oddity: string,
  steps: readonly RecipeStep[],
  change: Partial<Pick<ImageRecipe, 'backing' | 'snapshots' | 'judge'>> = {},
): ImageRecipe {
  return { id, oddity, steps, backing: [], snapshots: [], judge: { kind: 'all' }, ...change };
}

/** `qemu-img create` of a QCOW2 file; `options` as after `-o`. */
export function create(file: string, size: number | string, options: readonly string[]): RecipeStep {
  const flags = options.length === 0 ? [] : ['-o', options.join(',')];
  return { kind: 'img', args: ['create', '-q', '-f', 'qcow2', ...flags, `./${file}`, String(size)] };
}

/** `qemu-img create` of an overlay; `size` undefined takes the size of the backing file. */
export function createOver(
  file: string,
  backing: RecipeBacking,
  more: { readonly size: number | undefined; readonly options: readonly string[] },
): RecipeStep {
  const flags = more.options.length === 0 ? [] : ['-o', more.options.join(',')];
  const size = more.size === undefined ? [] : [String(more.size)];
  const chain = ['-b', backing.fileName, '-F', backing.format];
  return { kind: 'img', args: ['create', '-q', '-f', 'qcow2', ...chain, ...flags, `./${file}`, ...size] };
}

export function img(...args: readonly string[]): RecipeStep {
  return { kind: 'img', args };
}

/** qemu-io commands over a file. */
export function io(file: string, ...commands: readonly string[]): RecipeStep {
  return { kind: 'io', file, commands, abort: false };
}

export function snapshot(name: string): RecipeStep {
  return img('snapshot', '-c', name, `./${topFile}`);
}

/** Makes the image and all files below it in `folder` (made if it is not there); returns the path of the top file. */
export function cook(image: ImageRecipe, folder: string): string {
  mkdirSync(folder, { recursive: true });
  for (const step of image.steps) runStep(step, folder);
  return join(folder, topFile);
}

function runStep(step: RecipeStep, folder: string): void {
  switch (step.kind) {
    case 'img':
      qemuImg(...step.args.map((argument) => (argument.startsWith('./') ? join(folder, argument) : argument)));
      return;
    case 'io':
      runQemuIo(step, folder);
      return;
    case 'bytes': {
      const bytes = new Uint8Array(step.length);
      bytes.set(new Prng(step.seed).bytes(step.random));
      writeFileSync(join(folder, step.file), bytes);
      return;
    }
    case 'raw':
      writeFileSync(join(folder, step.file), new Uint8Array(0));
      for (const piece of step.pieces) {
        writePiece(join(folder, step.file), piece.offset, new Uint8Array(piece.length).fill(piece.value));
      }
      truncateSync(join(folder, step.file), step.length);
      return;
    case 'patch':
      writePiece(join(folder, step.file), step.offset, Buffer.from(step.hex, 'hex'));
      return;
    case 'truncate':
      truncateSync(join(folder, step.file), step.length);
  }
}

function runQemuIo(step: RecipeStep & { readonly kind: 'io' }, folder: string): void {
  const path = join(folder, step.file);
  const commands = step.commands.map((command) => command.replaceAll('{folder}', folder));
  if (!step.abort) {
    qemuIo(path, commands, { format: 'qcow2', readOnly: false, syncs: false, discard: 'unmap' });
    return;
  }
  const words = `${[...commands, 'abort'].join('\n')}\n`;
  try {
    runTool('qemu-io', ['-f', 'qcow2', path], words);
  } catch (error) {
    if (error instanceof Error && error.message.endsWith('SIGABRT')) return;
    throw error;
  }
  throw new Error('qemu-io went on after "abort"');
}

function writePiece(path: string, offset: number, bytes: Uint8Array): void {
  const file = openSync(path, 'r+');
  try {
    let done = 0;
    while (done < bytes.length) done += writeSync(file, bytes, done, bytes.length - done, offset + done);
  } finally {
    closeSync(file);
  }
}
