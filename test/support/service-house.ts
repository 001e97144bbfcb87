// The services over a real catalog, data directory and pool in a folder of their own, for tests.

import { readdirSync } from 'node:fs';
import { join } from 'node:path';

import { MiB } from '../../src/base/units.ts';
import { IdSource } from '../../src/base/id-source.ts';
import { SqliteCatalog } from '../../src/catalog/sqlite-catalog.ts';
import type { Catalog } from '../../src/catalog/catalog.ts';
import type { Engine } from '../../src/pool/engine.ts';
import { InlinePool } from '../../src/pool/inline-pool.ts';
import type { LanePool } from '../../src/pool/lane-pool.ts';
import { poolLimits } from '../../src/pool/limits.ts';
import type { PoolLimits } from '../../src/pool/limits.ts';
import { ThreadPool } from '../../src/pool/thread-pool.ts';
import type { CreateOptions } from '../../src/services/images.ts';
import type { ImportOptions } from '../../src/services/imports.ts';
import { createServices } from '../../src/services/services.ts';
import type { BackgroundFailure, Services, WriteOptions } from '../../src/services/services.ts';
import { DataDirectory } from '../../src/store/data-directory.ts';
import { plainForm } from './plain-spec.ts';
import { tempFolder } from './temp-folder.ts';

/** One life of the services. Ends with them: images closed, pool and catalog too. */
export interface ServiceHouse extends AsyncDisposable {
  readonly services: Services;
  readonly catalog: Catalog;
  readonly directory: DataDirectory;
  readonly pool: LanePool;
  /** What was reported while nobody was waiting for it. */
  readonly failures: readonly BackgroundFailure[];
  /** The files of a folder, without journals of the tests' own engine. */
  files(folder: 'images' | 'staging'): readonly string[];
}

export interface HouseOptions {
  readonly engine: Engine;
  /** A folder that outlives the services; otherwise they have their own. */
  /** Runs images on threads of this entry, instead of here with `engine`. */
  readonly entry?: URL;
  readonly path?: string;
  /** What stands for threads when images run here; one when left out. */
  readonly lanes?: number;
  readonly imageIdleMs?: number;
  readonly freeBytesMin?: number;
  readonly quotaBytes?: number;
  readonly limits?: Partial<PoolLimits>;
  readonly clock?: () => number;
  readonly steadyClock?: () => number;
}

/** Long enough for no image to close while a test looks. */
const longIdleMs = 60_000;

export async function openHouse(options: HouseOptions): Promise<ServiceHouse> {
  const folder = options.path === undefined ? tempFolder() : undefined;
  const path = options.path ?? folder?.path ?? '';
  const failures: BackgroundFailure[] = [];
  const report = (failure: BackgroundFailure): void => void failures.push(failure);
  const directory = await DataDirectory.open(path);
  const catalog = SqliteCatalog.open(directory.catalogPath);
  const clock = options.clock ?? ((): number => Date.now());
  const entropy = (length: number): Uint8Array => crypto.getRandomValues(new Uint8Array(length));
  const ids = new IdSource({ clock, entropy });
  const imageIdleMs = options.imageIdleMs ?? longIdleMs;
  const limits = { ...poolLimits, ...options.limits };
  const shared = { imageIdleMs, limits, report };
  const { engine, entry } = options;
  const pool =
    entry === undefined
      ? new InlinePool({ ...shared, engine, lanes: options.lanes, clock: () => performance.now() })
      : await ThreadPool.start({
          ...shared,
          threads: 2,
          entry,
          locks: 'qemu',
          hostCopies: false,
          cacheBytes: 64 * MiB,
          codecThreads: 1,
        });
  const services = createServices({
    catalog,
    directory,
    pool,
    clock,
    steadyClock: options.steadyClock ?? ((): number => performance.now()),
    newId: (prefix) => ids.next(prefix),
    entropy,
    imageIdleMs,
    freeBytesMin: options.freeBytesMin ?? 0,
    runtimeDefaults: {},
    quotaBytes: options.quotaBytes,
    report,
  });
  await services.start();
  return {
    services,
    catalog,
    directory,
    pool,
    failures,
    files: (name) => readdirSync(join(path, name)).filter((file) => file.endsWith('.qcow2')),
    [Symbol.asyncDispose]: async () => {
      // What did not close well stands among the failures.
      await Promise.allSettled([services.stop()]);
      await services.whenOver();
      await pool.close();
      await catalog.close();
      folder?.[Symbol.dispose]();
    },
  };
}

/** What an empty image is made of, unless a test says otherwise. */
export function newImage(change: Partial<CreateOptions> & { readonly name: string }): CreateOptions {
  return {
    description: '',
    labels: {},
    virtualSize: 1024 * 1024,
    ...plainForm,
    backing: undefined,
    ...change,
  };
}

/** An import without anything special. */
export function newImport(change: Partial<ImportOptions> & Pick<ImportOptions, 'name' | 'source'>): ImportOptions {
  return { description: '', labels: {}, bodyLength: undefined, sha256: undefined, signal: undefined, ...change };
}

export const rawSource: Extract<ImportOptions['source'], { format: 'raw' }> = {
  format: 'raw',
  compress: false,
  create: plainForm,
  dataFile: undefined,
  encryption: undefined,
};

export const qcow2Source: Extract<ImportOptions['source'], { format: 'qcow2' }> = {
  format: 'qcow2',
  backing: undefined,
  repair: 'leaks',
};

/** Bytes as a body, in pieces. */
export async function* bodyIn(bytes: Uint8Array, pieceLength: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += pieceLength) yield bytes.slice(at, at + pieceLength);
}

/** A body that breaks off. */
export async function* brokenBody(bytes: Uint8Array, reason: Error): AsyncGenerator<Uint8Array> {
  yield* bodyIn(bytes, 65_536);
  throw reason;
}

/** Everything that a session reads. */
export async function gather(chunks: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  for await (const piece of chunks) pieces.push(piece);
  return Buffer.concat(pieces);
}

export async function readAll(services: Services, image: string, snapshot?: string): Promise<Buffer> {
  using session = await services.content.openRead(image, { snapshot, signal: undefined });
  return await gather(session.chunks({ offset: 0, length: session.size }));
}

/** How bytes are written, unless a test says otherwise: durable when answered. */
export const plainWrite: WriteOptions = {
  bodyLength: undefined,
  flush: true,
  detectZeroes: false,
  compress: false,
  sha256: undefined,
  expected: undefined,
};

/** Writes bytes at an offset, durable when answered. */
export async function writeAt(services: Services, image: string, offset: number, bytes: Uint8Array): Promise<void> {
  using session = await services.content.openWrite(image, { signal: undefined });
  await session.write({ offset, length: bytes.length }, bodyIn(bytes, 100_000), plainWrite);
}
