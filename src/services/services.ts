// The face of the services: what the product does, as one record. Knows names and rules; knows no HTTP.

import { Chains } from './chains.ts';
import { Content } from './content.ts';
import { Compactions } from './compactions.ts';
import { Copies } from './copies.ts';
import { Exports } from './exports.ts';
import { Health } from './health.ts';
import { ImageAccess } from './image-access.ts';
import { ImageKeys } from './image-keys.ts';
import { ImageLocks } from './image-locks.ts';
import { Idempotency } from './idempotency.ts';
import { Images } from './images.ts';
import { Imports } from './imports.ts';
import { Janitor } from './janitor.ts';
import { Jobs } from './jobs.ts';
import { NewImages } from './new-images.ts';
import { LeaseBook } from './lease-book.ts';
import { Leases } from './leases.ts';
import { Measures } from './measures.ts';
import { ReadAhead, readAheadMax } from './read-ahead.ts';
import type { ServiceParts } from './service-parts.ts';
import { Bitmaps } from './bitmaps.ts';
import { RuntimeBook, Runtimes } from './runtimes.ts';
import { Snapshots } from './snapshots.ts';
import { Usage } from './usage.ts';
import { VmStates } from './vm-states.ts';

export type { ImageFacts, ImageReference, ImageState, JobKind, Labels } from '../catalog/catalog.ts';
export type {
  CheckFinding,
  CheckReport,
  Compacted,
  ExpectedGeneration,
  ExtentItem,
  ImageDescription,
  ImageInspection,
  RepairMode,
  BitmapDescription,
  DirtyExtent,
  SnapshotDescription,
} from '../pool/protocol.ts';
export type { ExtentsOptions, ImageExtents } from './content.ts';
export type { CopyOptions } from './copies.ts';
export type { ExportOptions, ExportSession } from './export-session.ts';
export type { UsageReport } from './usage.ts';
export type { HealthReport } from './health.ts';
export type { CreateOptions, ImageInfo, ImagePage, ListOptions, ResizeOptions } from './images.ts';
export type { ImageChange } from './image-edits.ts';
export type { Image } from './image-facts.ts';
export type { KeySlotChange } from './image-locks.ts';
export type { DirtyExtents, MadeBitmap } from './bitmaps.ts';
export type { SnapshotList, SnapshotPosition } from './snapshots.ts';
export type { Made } from './idempotency.ts';
export type { ImportOptions } from './imports.ts';
export type { MeasureOptions } from './measures.ts';
export type { JobResults } from './job-kinds.ts';
export type { Job, JobPage } from './jobs.ts';
export { chainDepthMax } from './new-images.ts';
export { Passphrases } from './passphrases.ts';
export { leasesMax } from './lease-book.ts';
export type { LeaseClaim, LeaseView } from './lease-book.ts';
export type { Lease, LeaseOptions } from './leases.ts';
export { chunkLengthMax } from './read-session.ts';
export type { ReadChunk, ReadSession } from './read-session.ts';
export type { BackgroundFailure, ServiceParts } from './service-parts.ts';
export type { IncomingVmState, VmStateReading, VmStateReceipt } from './vm-states.ts';
export type { WorkControl } from './work-control.ts';
export type { WriteOptions, WriteReceipt, WriteSession } from './write-session.ts';

/** The services that routes work with. Options are complete: an option left out is spelled `undefined`. */
export interface Services {
  readonly images: Images;
  readonly chains: Chains;
  readonly locks: ImageLocks;
  readonly content: Content;
  readonly snapshots: Snapshots;
  readonly vmStates: VmStates;
  readonly bitmaps: Bitmaps;
  readonly copies: Copies;
  readonly compactions: Compactions;
  readonly imports: Imports;
  readonly exports: Exports;
  readonly jobs: Jobs;
  readonly idempotency: Idempotency;
  readonly leases: Leases;
  readonly measures: Measures;
  readonly health: Health;
  readonly usage: Usage;
  readonly runtimes: Runtimes;
  /** Settles what an earlier process left half done. Before the first request. */
  start(): Promise<void>;
  /**
   * Ahead of {@link stop}, while the last requests go on: nobody waits for jobs any longer, jobs are cut, and images begin to
   * be closed or flushed.
   */
  prepareToStop(): void;
  /**
   * Cuts whatever goes on, and flushes and closes every image that is open. After the last request. Throws when one of them
   * did not close well.
   */
  stop(): Promise<void>;
  /** Waits for the end of what {@link stop} has cut. Before the pool and the catalog close; the next start settles what is left. */
  whenOver(): Promise<void>;
}

export function createServices(parts: ServiceParts): Services {
  const processToken = Buffer.from(parts.entropy(processTokenLength)).toString('base64url');
  const usage = new Usage(parts);
  const keys = new ImageKeys(parts);
  const book = new LeaseBook(parts);
  const runtimes = new RuntimeBook(parts.runtimeDefaults);
  const access = new ImageAccess({ ...parts, runtimes, graceMs, processToken, leases: book, keys });
  const leases = new Leases({ ...parts, access, book });
  const newImages = new NewImages({ ...parts, access, runtimes });
  const images = new Images({ ...parts, access, newImages, usage });
  const bitmaps = new Bitmaps({ ...parts, access });
  const snapshots = new Snapshots({ ...parts, access });
  const chains = new Chains({ ...parts, access, images, keys });
  const compactions = new Compactions({ access });
  const jobs = new Jobs({ ...parts, access, images, chains, compactions });
  const ahead = new ReadAhead({ bytesMax: readAheadMax });
  const janitor = new Janitor({ ...parts, access, jobs });
  return {
    images,
    chains,
    locks: new ImageLocks({ ...parts, access, keys }),
    content: new Content({ ...parts, access, usage, ahead }),
    snapshots,
    vmStates: new VmStates({ ...parts, access, usage, ahead }),
    bitmaps,
    compactions,
    copies: new Copies({ ...parts, access, images, newImages, usage }),
    imports: new Imports({ ...parts, newImages, usage }),
    exports: new Exports({ ...parts, access, ahead, usage, processToken }),
    jobs,
    idempotency: new Idempotency({ ...parts, snapshots, bitmaps }),
    leases,
    measures: new Measures({ ...parts, access }),
    health: new Health(parts),
    usage,
    runtimes: new Runtimes({ access, book: runtimes }),
    start: async () => {
      await leases.start();
      await janitor.settle();
    },
    prepareToStop: () => {
      jobs.cut();
      access.prepareToStop();
    },
    stop: async () => {
      jobs.cut();
      leases.stop();
      newImages.cut();
      const closed = access.stop();
      // By now every run knows that it is cut.
      parts.pool.stopPacking();
      await closed;
    },
    whenOver: async () => {
      await newImages.whenOver();
      await jobs.whenOver();
    },
  };
}

/** How long callers may hold up a deletion, and calls a change that needs an image to stand still. */
const graceMs = 5_000;

/** In bytes: enough that no two processes ever have the same. */
const processTokenLength = 9;
