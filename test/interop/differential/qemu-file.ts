// An image under QEMU's tools, encrypted or not: the same words for both.

import assert from 'node:assert/strict';
import { dirname, join } from 'node:path';

import { qemuOptions, secret } from '../../support/encrypted-image.ts';
import { qemuImg, runTool } from '../../support/qemu-img.ts';
import type { MapRun } from '../../support/qemu-img.ts';

export class QemuFile {
  readonly path: string;
  readonly #isEncrypted: boolean;

  constructor(path: string, use: { readonly isEncrypted: boolean }) {
    this.path = path;
    this.#isEncrypted = use.isEncrypted;
  }

  /** Runs a verb of qemu-img, which must succeed; what comes behind the image's name last. */
  img(verb: string, options: readonly string[] = [], behind: readonly string[] = []): string {
    // `snapshot` knows no formats by name.
    const format = verb === 'snapshot' && !this.#isEncrypted ? [] : this.#format;
    return qemuImg(verb, ...this.#secret, ...options, ...format, this.#name, ...behind);
  }

  /** Runs commands of qemu-io in one process; its complaint, or undefined. */
  tryIo(commands: readonly string[], use: { readonly readOnly: boolean }): string | undefined {
    const flags = ['-t', 'unsafe', '-d', 'unmap', ...(use.readOnly ? ['-r'] : [])];
    const args = [...this.#secret, ...flags, ...this.#format, this.#name];
    const { exit, stdout, stderr } = runTool('qemu-io', args, `${commands.join('\n')}\nquit\n`);
    const complaint = /^(?:qemu-io> )*(?:.*(?:failed|error|invalid|not found|No such).*)$/im.exec(stdout)?.[0];
    if (exit === 0 && complaint === undefined && stderr.trim() === '') return undefined;
    return complaint ?? `${String(exit)} ${stderr}`;
  }

  /** As {@link tryIo}; every command must succeed. */
  io(commands: readonly string[], use: { readonly readOnly: boolean }): void {
    const complaint = this.tryIo(commands, use);
    if (complaint !== undefined) throw new Error(`qemu-io ${this.path}: ${complaint}\n${commands.join('\n')}`);
  }

  /** A file of the same folder, of the same sort. */
  beside(name: string): QemuFile {
    return new QemuFile(join(dirname(this.path), name), { isEncrypted: this.#isEncrypted });
  }

  map(): readonly MapRun[] {
    return JSON.parse(this.img('map', ['--output=json'])) as readonly MapRun[];
  }

  info(): Readonly<Record<string, unknown>> {
    return JSON.parse(this.img('info', ['--output=json'])) as Readonly<Record<string, unknown>>;
  }

  /** `qemu-img check` finds nothing, nor has a word to say. */
  assertSound(): void {
    const args = ['check', ...this.#secret, '--output=json', ...this.#format, this.#name];
    const { exit, stdout, stderr } = runTool('qemu-img', args, '');
    assert.equal(exit, 0, `qemu-img check: ${stdout} ${stderr}`);
  }

  /** Whether the other image, as encrypted as this one, reads the same. */
  readsAs(other: QemuFile): boolean {
    const format = this.#isEncrypted ? ['--image-opts'] : ['-f', 'qcow2', '-F', 'qcow2'];
    const args = ['compare', '-q', ...this.#secret, ...format, this.#name, other.#name];
    const { exit, stderr } = runTool('qemu-img', args, '');
    assert.ok(exit <= 1, stderr);
    return exit === 0;
  }

  get #secret(): readonly string[] {
    return this.#isEncrypted ? secret : [];
  }

  get #format(): readonly string[] {
    return this.#isEncrypted ? ['--image-opts'] : ['-f', 'qcow2'];
  }

  get #name(): string {
    return this.#isEncrypted ? qemuOptions(this.path) : this.path;
  }
}
