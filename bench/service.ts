// The service as its users meet it: a process over a folder of its own, asked over HTTP.

import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { Child, timeCommand } from './processes.ts';

const entry = fileURLToPath(new URL('../src/main.ts', import.meta.url));

export class Service {
  readonly port: number;
  readonly #child: Child;
  readonly #dataFolder: string;

  private constructor(parts: { readonly port: number; readonly child: Child; readonly dataFolder: string }) {
    this.port = parts.port;
    this.#child = parts.child;
    this.#dataFolder = parts.dataFolder;
  }

  /** `nodeOptions` go to Node: `--cpu-prof` shows where the time goes. `more` is added to the environment. */
  static async start(
    dataFolder: string,
    nodeOptions: readonly string[],
    more: Readonly<Record<string, string>>,
  ): Promise<Service> {
    const environment = { ...more, QCOWD_PORT: '0', QCOWD_DATA_DIR: dataFolder, QCOWD_LOG_LEVEL: 'info' };
    const child = new Child({ file: entry, words: [], environment }, nodeOptions);
    const [, port = ''] = await child.untilPrinted(/"url":"http:\/\/127\.0\.0\.1:(\d+)"/);
    return new Service({ port: Number(port), child, dataFolder });
  }

  /** Sends JSON and takes JSON; throws unless it is answered with this status. */
  async ask(method: string, path: string, options: { readonly body: unknown; readonly status: number }): Promise<Body> {
    const { body, status } = options;
    // Long work is waited for, not handed out as a job.
    const headers = { prefer: 'wait=60', ...(body === undefined ? {} : { 'content-type': 'application/json' }) };
    const response = await fetch(`http://127.0.0.1:${this.port}${path}`, {
      method,
      headers,
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    if (response.status !== status) throw new Error(`${method} ${path}: ${response.status} ${text}`);
    return text === '' ? {} : (JSON.parse(text) as Body);
  }

  /** Makes an image; its id. */
  async create(image: Readonly<Record<string, unknown>>): Promise<string> {
    const { id } = await this.ask('POST', '/v1/images', { body: image, status: 201 });
    return String(id);
  }

  /** Sends a file as `curl -T` does; how long it took, in seconds. */
  upload(file: string, path: string, headers: readonly string[] = []): number {
    const words = headers.flatMap((header) => ['-H', header]);
    return timeCommand('curl', [...uploadWords, ...words, '-T', file, `http://127.0.0.1:${this.port}${path}`]);
  }

  /** Takes bytes into a file as `curl -o` does; how long it took, in seconds. */
  download(path: string, file: string): number {
    return timeCommand('curl', ['-sS', '--fail-with-body', '-o', file, `http://127.0.0.1:${this.port}${path}`]);
  }

  async remove(image: string): Promise<void> {
    await this.ask('DELETE', `/v1/images/${image}`, { body: undefined, status: 204 });
  }

  /** Where the service keeps the file of an image. */
  fileOf(imageId: string): string {
    return join(this.#dataFolder, 'images', `${imageId}.qcow2`);
  }

  /** CPU time of all its threads so far. */
  get cpuSeconds(): number {
    return this.#child.cpuSeconds;
  }

  /** How it ended, if it has, and what it printed last: for whoever finds it gone. */
  get lastWords(): string {
    const { exitCode, signalCode } = this.#child.process;
    return `the service: exit code ${String(exitCode)}, signal ${String(signalCode)}\n${this.#child.printed}`;
  }

  async end(): Promise<void> {
    await this.#child.end();
  }
}

const uploadWords = ['-sS', '--fail-with-body', '-o', '/dev/null'];

type Body = Readonly<Record<string, unknown>>;
