// Where measuring happens: a folder in memory and one on the disk, each with a service, and the process that makes load.

import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import type { LoadAnswer, LoadOrder, LoadResult } from './load-order.ts';
import type { PlainServerReady } from './plain-server.ts';
import { Child, runCommand } from './processes.ts';
import { Service } from './service.ts';

export interface BenchOptions {
  /** A folder in memory, where the disk cannot disturb. */
  readonly memoryFolder: string;
  /** A folder on a disk, where syncs cost what they cost. */
  readonly diskFolder: string;
  /** Pairs of figures of each comparison. */
  readonly rounds: number;
  /** How long one figure of a load takes. */
  readonly seconds: number;
  /** Node's options for the service. */
  readonly nodeOptions: readonly string[];
}

/** The workplace of a whole run; what it started and made is gone after `end`. */
export class Bench {
  readonly options: BenchOptions;
  readonly memory: Site;
  readonly disk: Site;
  #load: Child | undefined;

  constructor(options: BenchOptions) {
    this.options = options;
    this.memory = new Site(options.memoryFolder, options.nodeOptions);
    this.disk = new Site(options.diskFolder, options.nodeOptions);
  }

  async load(order: LoadOrder): Promise<LoadResult> {
    this.#load ??= new Child({ file: fileOf('load.ts'), words: [], environment: {} }, []);
    const answer = this.#load.nextMessage();
    this.#load.process.send(order);
    const told = (await answer) as LoadAnswer;
    if (told.kind === 'failed') throw new Error(`the load generator failed: ${told.reason}`);
    return told.result;
  }

  /** What the services have printed last. */
  async lastWords(): Promise<string> {
    return [await this.memory.lastWords(), await this.disk.lastWords()].join('\n');
  }

  async end(): Promise<void> {
    await this.#load?.end();
    await this.memory.end();
    await this.disk.end();
  }
}

/** The peer of the data routes. */
export class PlainServer {
  readonly port: number;
  readonly #child: Child;

  constructor(child: Child, port: number) {
    this.#child = child;
    this.port = port;
  }

  /** CPU time so far. */
  get cpuSeconds(): number {
    return this.#child.cpuSeconds;
  }
}

/** One folder, and what runs over it. */
export class Site {
  readonly folder: string;
  readonly #nodeOptions: readonly string[];
  readonly #plainServers: Child[] = [];
  #service: Promise<Service> | undefined;

  constructor(parent: string, nodeOptions: readonly string[]) {
    mkdirSync(parent, { recursive: true });
    this.folder = mkdtempSync(join(parent, 'qcowd-bench-'));
    this.#nodeOptions = nodeOptions;
  }

  path(name: string): string {
    return join(this.folder, name);
  }

  /** Started when it is first asked for. */
  async service(): Promise<Service> {
    this.#service ??= Service.start(this.path('data'), this.#nodeOptions, {});
    return this.#service;
  }

  async lastWords(): Promise<string> {
    return (await this.#service)?.lastWords ?? '';
  }

  /** A plain server over one file. */
  async serve(path: string): Promise<PlainServer> {
    const server = new Child({ file: fileOf('plain-server.ts'), words: [path], environment: {} }, []);
    this.#plainServers.push(server);
    const { port } = (await server.nextMessage()) as PlainServerReady;
    return new PlainServer(server, port);
  }

  /** A new file of random bytes; its path. */
  fillRandom(name: string, length: number): string {
    const path = this.path(name);
    runCommand('dd', ['if=/dev/urandom', `of=${path}`, 'bs=1M', `count=${length}`, 'iflag=count_bytes', 'status=none']);
    return path;
  }

  async end(): Promise<void> {
    for (const server of this.#plainServers.splice(0)) await server.end();
    await (await this.#service)?.end();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

function fileOf(name: string): string {
  return fileURLToPath(new URL(name, import.meta.url));
}
