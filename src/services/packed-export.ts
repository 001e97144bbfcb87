// An image that goes out with its clusters compressed: how long the file is shows only when all of it is packed, so it is
// made first, beside the images that come in, and sent from there.

import { assert } from '../base/assert.ts';
import type { ByteSpan } from '../base/byte-span.ts';
import type { SnapshotDescription } from '../pool/protocol.ts';
import type { TakenFile } from '../store/taken-file.ts';
import type { ExportSession } from './export-session.ts';
import { requireFacts } from './image-facts.ts';
import { chunkLengthMax, inChunks } from './read-session.ts';
import type { ReadAhead } from './read-ahead.ts';
import type { ServiceParts } from './service-parts.ts';
import type { Usage } from './usage.ts';
import type { Visit } from './visit.ts';

export type PackedExportParts = Pick<ServiceParts, 'directory' | 'newId' | 'report'> & {
  readonly ahead: ReadAhead;
  readonly usage: Pick<Usage, 'requireQuota'>;
  /** Another one for every process: another build, or another machine, may pack to other bytes. */
  readonly processToken: string;
};

/** What is packed: an image as it is now, or a snapshot; whole, or without what lies below. */
interface PackedWish {
  readonly snapshot: SnapshotDescription | undefined;
  readonly layer: 'all' | 'top';
}

/**
 * Changes of the image wait until its file is made; the session needs the image no more. Faults `quota-exceeded`, and those
 * of the run: nothing is left then.
 */
export async function makePacked(parts: PackedExportParts, visit: Visit, wish: PackedWish): Promise<ExportSession> {
  const { directory, newId, usage } = parts;
  const { snapshot, layer } = wish;
  await usage.requireQuota(0);
  const { clusterSize, compressionType } = requireFacts(visit.record);
  const spec = { ...exportFormat, clusterSize, compressionType };
  const id = newId('img');
  const asked = snapshot === undefined ? {} : { snapshot: snapshot.id };
  const path = directory.stagingPath(id);
  const { generation } = await visit.run('copy', { path, spec, compress: true, layer, ...asked });
  const file = await directory.takeStaged(id);
  return new PackedExport({ parts, visit, file, generation, snapshotId: snapshot?.id });
}

/** As exports are that nobody has asked to be compressed. */
const exportFormat = {
  compat: '1.1',
  refcountBits: 16,
  lazyRefcounts: false,
  extendedL2: false,
  preallocation: 'off',
  backing: undefined,
} as const;

class PackedExport implements ExportSession {
  readonly imageId: string;
  readonly imageName: string;
  readonly snapshotId: string | undefined;
  readonly generation: number;
  readonly edition: string;
  readonly #file: TakenFile;
  readonly #parts: PackedExportParts;
  #closed = false;

  constructor(made: {
    readonly parts: PackedExportParts;
    readonly visit: Visit;
    readonly file: TakenFile;
    readonly generation: number;
    readonly snapshotId: string | undefined;
  }) {
    this.imageId = made.visit.imageId;
    this.imageName = made.visit.record.name;
    this.snapshotId = made.snapshotId;
    this.generation = made.generation;
    this.edition = made.parts.processToken;
    this.#file = made.file;
    this.#parts = made.parts;
  }

  get length(): number {
    return this.#file.length;
  }

  async read(span: ByteSpan): Promise<Uint8Array> {
    assert(span.length <= chunkLengthMax, 'a chunk is not longer than a chunk may be');
    return this.#file.read(span);
  }

  chunks(span: ByteSpan): AsyncIterable<Uint8Array> {
    return inChunks(span, { read: (part) => this.read(part), ahead: this.#parts.ahead });
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#file.close().catch((error: unknown) => {
      this.#parts.report({ doing: 'closing an export', imageId: this.imageId, error });
    });
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
