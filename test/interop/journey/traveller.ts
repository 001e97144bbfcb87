// One image and its twin on their way: every operation is asked of the service, and done to the twin by QEMU.

import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { qemuImg } from '../../support/qemu-img.ts';
import { runShell } from '../../support/service-process.ts';
import { assertSilent, assertSoundWhileOpen, assertTwins, doWithQemu } from './twin.ts';
import type { Fill, Twins } from './twin.ts';

interface Span {
  readonly offset: number;
  readonly length: number;
}

export class Traveller {
  readonly #image: string;
  readonly #folder: string;
  readonly #name: string;
  readonly #twins: Twins;

  /** `name` is the image's name at the service; the twins are equal. */
  constructor(place: { readonly url: string; readonly folder: string }, name: string, twins: Twins) {
    this.#image = `${place.url}/v1/images/${name}`;
    this.#folder = place.folder;
    this.#name = name;
    this.#twins = twins;
  }

  get twins(): Twins {
    return this.#twins;
  }

  /** Both are as equal, and ours as sound, as QEMU can tell while the service has the file open. */
  judge(note: string): void {
    const words = `${this.#name}, ${note}`;
    assertSoundWhileOpen(this.#twins.ours, words);
    assertTwins(this.#folder, this.#twins, words);
  }

  /** The same for the file as it is left: closed, and without a single complaint. */
  async judgeClosed(note: string): Promise<void> {
    const words = `${this.#name}, ${note}, closed`;
    await this.post('detach');
    assertSilent(this.#twins.ours, words);
    assertTwins(this.#folder, this.#twins, words);
    await this.post('attach');
  }

  async write({ offset, length, value }: Fill): Promise<void> {
    writeFileSync(join(this.#folder, 'part.bin'), Buffer.alloc(length, value));
    const headers = [`Content-Range: bytes ${offset}-${offset + length - 1}/*`];
    await sendFile('part.bin', { folder: this.#folder, url: `${this.#image}/data`, headers });
    doWithQemu(this.#twins.theirs, [`write -P ${value} ${offset} ${length}`]);
  }

  async zero({ offset, length }: Span, unmap: boolean): Promise<void> {
    await this.post('zero', { offset, length, unmap });
    doWithQemu(this.#twins.theirs, [`write -z ${unmap ? '-u ' : ''}${offset} ${length}`]);
  }

  async discard({ offset, length }: Span): Promise<void> {
    await this.post('discard', { offset, length });
    doWithQemu(this.#twins.theirs, [`discard ${offset} ${length}`]);
  }

  async resize(virtualSize: number, direction: 'grow' | 'shrink'): Promise<void> {
    await this.post('resize', { virtualSize, allowShrink: direction === 'shrink' });
    const flags = direction === 'shrink' ? ['--shrink'] : [];
    qemuImg('resize', '-q', '-f', 'qcow2', ...flags, this.#twins.theirs, String(virtualSize));
  }

  async snapshot(name: string): Promise<void> {
    await this.post('snapshots', { name });
    qemuImg('snapshot', '-c', name, this.#twins.theirs);
  }

  async deleteSnapshot(name: string): Promise<void> {
    await ask(`${this.#image}/snapshots/${name}`, { method: 'DELETE', body: undefined });
    qemuImg('snapshot', '-d', name, this.#twins.theirs);
  }

  async revert(name: string): Promise<void> {
    await this.post(`snapshots/${name}/revert`);
    qemuImg('snapshot', '-a', name, this.#twins.theirs);
  }

  /** Hands the file to qemu-io, which does the same to both, and takes it back. */
  async handOver(commands: readonly string[]): Promise<void> {
    await this.post('detach');
    for (const path of [this.#twins.ours, this.#twins.theirs]) doWithQemu(path, commands);
    await this.post('attach');
  }

  /** Asks for a verb of the image; the JSON of the answer. */
  async post(verb: string, body?: object): Promise<Readonly<Record<string, unknown>>> {
    return ask(`${this.#image}/${verb}`, { method: 'POST', body });
  }

  /** GET below the image. */
  async read(path: string): Promise<Buffer> {
    const answer = await fetch(`${this.#image}/${path}`);
    const bytes = Buffer.from(await answer.arrayBuffer());
    assert.equal(answer.status, 200, bytes.toString('latin1', 0, errorLengthMax));
    return bytes;
  }
}

/** A request that succeeds; the JSON of the answer, or nothing where there is none. */
export async function ask(
  url: string,
  { method, body }: { readonly method: string; readonly body: object | undefined },
): Promise<Readonly<Record<string, unknown>>> {
  const content =
    body === undefined ? {} : { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } };
  const answer = await fetch(url, { method, ...content });
  const text = await answer.text();
  assert.ok(answer.ok, `${method} ${url}: ${text}`);
  return text === '' ? {} : (JSON.parse(text) as Record<string, unknown>);
}

/** Sends a file with the stock curl, as `curl -T` with these words does. */
export async function sendFile(
  file: string,
  to: { readonly folder: string; readonly url: string; readonly headers: readonly string[] },
): Promise<Readonly<Record<string, unknown>>> {
  const headers = to.headers.map((header) => `-H '${header}'`).join(' ');
  const line = `curl -sS --fail-with-body -T ${file} ${headers} "${to.url}"`;
  const { code, stdout, stderr } = await runShell([line], { folder: to.folder, variables: {} });
  assert.equal(code, 0, `${stderr}${stdout}`);
  return stdout === '' ? {} : (JSON.parse(stdout) as Record<string, unknown>);
}

const errorLengthMax = 1000;
