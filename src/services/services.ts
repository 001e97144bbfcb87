// The face of the services: what the product does, as one record. Knows names and rules; knows no HTTP.

import type { Catalog } from '../catalog/catalog.ts';
import type { EnginePool } from '../pool/engine-pool.ts';
import type { DataDirectory } from '../store/data-directory.ts';
import type { Content } from './content.ts';
import type { Exports } from './exports.ts';
import type { Health } from './health.ts';
import type { Images } from './images.ts';
import type { Imports } from './imports.ts';
import type { Snapshots } from './snapshots.ts';

export type { Image, ImageFacts, ImageReference, ImageState, Labels } from '../catalog/catalog.ts';
export type {
  CheckFinding,
  CheckReport,
  ExtentItem,
  ImageDescription,
  RepairMode,
  SnapshotDescription,
} from '../pool/protocol.ts';
export type {
  ExtentsOptions,
  ImageExtents,
  ReadChunk,
  ReadSession,
  WriteOptions,
  WriteReceipt,
  WriteSession,
} from './content.ts';
export type { ExportOptions, ExportSession } from './exports.ts';
export type { HealthReport } from './health.ts';
export type { CreateOptions, ImageInfo, ImagePage, ListOptions, ResizeOptions } from './images.ts';
export type { ImportOptions } from './imports.ts';

/** The services that routes work with. Options are complete: an option left out is spelled `undefined`. */
export interface Services {
  readonly images: Images;
  readonly content: Content;
  readonly snapshots: Snapshots;
  readonly imports: Imports;
  readonly exports: Exports;
  readonly health: Health;
  /** Settles what an earlier process left half done. Before the first request. */
  start(): Promise<void>;
  /** Flushes and closes every image that is open. After the last request, before the pool and the catalog close. */
  stop(): Promise<void>;
}

/** Something that went wrong while nobody was waiting for it. */
export interface BackgroundFailure {
  /** What was being done, in a few words. */
  readonly doing: string;
  readonly imageId: string | undefined;
  readonly error: unknown;
}

/** What services are made of. */
export interface ServiceParts {
  readonly catalog: Catalog;
  readonly directory: DataDirectory;
  readonly pool: EnginePool;
  /** Milliseconds since 1970. */
  readonly clock: () => number;
  /** A new unique id `<prefix>_…` that sorts by creation (`IdSource` of base). */
  readonly newId: (prefix: 'img') => string;
  /** So many random bytes. */
  readonly entropy: (length: number) => Uint8Array;
  /** How long an image stays open after its last use. */
  readonly imageIdleMs: number;
  /** Below so many free bytes health says `low`. */
  readonly freeBytesMin: number;
  /** Told of failures that no caller sees: for the log. */
  readonly report: (failure: BackgroundFailure) => void;
}

export declare function createServices(parts: ServiceParts): Services;
