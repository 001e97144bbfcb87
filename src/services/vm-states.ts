// VM states of snapshots: read in parts, written whole by way of a staging file.

import { present } from '../base/assert.ts';
import type { ByteSpan } from '../base/byte-span.ts';
import { Fault } from '../base/fault.ts';
import { expectedOf, whileWanted } from './body-chunks.ts';
import type { ImageAccess } from './image-access.ts';
import type { LeaseClaim } from './lease-book.ts';
import { writeAll } from './qcow2-import.ts';
import type { Passphrases } from './passphrases.ts';
import type { ReadAhead } from './read-ahead.ts';
import { inChunks } from './read-session.ts';
import type { ReadChunk } from './read-session.ts';
import type { ServiceParts } from './service-parts.ts';
import { findSnapshot } from './snapshot-lookup.ts';
import { explainStorage, requireSpace } from './storage-faults.ts';
import type { Usage } from './usage.ts';
import type { Visit } from './visit.ts';
import type { WorkControl } from './work-control.ts';
import { requireDigest } from './write-session.ts';

/** A VM state being read; close it at the end, whatever happens (`using state = …` does). */
export interface VmStateReading extends Disposable {
  readonly imageId: string;
  /** The id in the file; it never comes back. */
  readonly snapshotId: string;
  /** In bytes; 0 without a state. */
  readonly size: number;
  /** Another one after every write of a VM state of this image. */
  readonly generation: number;
  /** At most `chunkLengthMax` bytes. When the state is another one by now, `size` and the chunk's generation tell. */
  read(span: ByteSpan): Promise<ReadChunk>;
  /** The whole span in chunks. Fault `precondition-failed` when the state is another one by now. */
  chunks(span: ByteSpan): AsyncIterable<Uint8Array>;
}

/** What comes in as a VM state. */
export interface IncomingVmState {
  readonly body: AsyncIterable<Uint8Array>;
  /** What the client says the body's length is, in bytes, or undefined when it does not. */
  readonly bodyLength: number | undefined;
  /** The expected SHA-256 of the body. */
  readonly sha256: Uint8Array | undefined;
  /** Aborted when the client has gone: a body that is not all there leaves the state of before. */
  readonly signal: AbortSignal | undefined;
  readonly claim: LeaseClaim | undefined;
  readonly passphrases: Passphrases | undefined;
}

/** The state that holds now. */
export interface VmStateReceipt {
  readonly imageId: string;
  readonly snapshotId: string;
  readonly generation: number;
}

/** `snapshot` is an id in the file or a name, the id first; without such a snapshot verbs fault `snapshot-not-found`. */
export class VmStates {
  readonly #parts: Pick<ServiceParts, 'directory' | 'newId'>;
  readonly #access: ImageAccess;
  readonly #usage: Pick<Usage, 'requireQuota'>;
  readonly #ahead: ReadAhead;

  constructor(
    parts: Pick<ServiceParts, 'directory' | 'newId'> & {
      readonly access: ImageAccess;
      readonly usage: Pick<Usage, 'requireQuota'>;
      readonly ahead: ReadAhead;
    },
  ) {
    this.#parts = parts;
    this.#access = parts.access;
    this.#usage = parts.usage;
    this.#ahead = parts.ahead;
  }

  async openRead(
    image: string,
    snapshot: string,
    options: {
      readonly signal: AbortSignal | undefined;
      readonly claim: LeaseClaim | undefined;
      readonly passphrases: Passphrases | undefined;
    },
  ): Promise<VmStateReading> {
    const visit = await this.#access.enter(image, { changes: false, ...options });
    try {
      const { id } = await findSnapshot(visit, snapshot);
      const { length, generation } = await visit.call('vmState', { snapshot: id });
      return new Reading(visit, { snapshotId: id, ahead: this.#ahead, length, generation });
    } catch (error) {
      visit.leave();
      throw error;
    }
  }

  /**
   * The whole body, or nothing of it, becomes the VM state; durable when answered. The body is staged first, so that a slow
   * client holds nobody up. Faults `content-range-mismatch` (the body ended early), `digest-mismatch`, `content-too-large`,
   * `insufficient-storage`, `quota-exceeded`.
   */
  async write(image: string, snapshot: string, incoming: IncomingVmState): Promise<VmStateReceipt> {
    const { directory, newId } = this.#parts;
    const { bodyLength, claim, passphrases, signal } = incoming;
    await this.#access.use(image, { changes: true, claim, passphrases }, (visit) => findSnapshot(visit, snapshot));
    await this.#usage.requireQuota(bodyLength ?? 0);
    // Once in the staging file and once in the image.
    if (bodyLength !== undefined) await requireSpace(directory, 2 * bodyLength);
    const staged = newId('img');
    try {
      await this.#stage(staged, incoming);
      signal?.throwIfAborted();
      return await this.#bind(image, snapshot, { path: directory.stagingPath(staged), claim, passphrases });
    } finally {
      await directory.remove('staging', staged);
    }
  }

  async #stage(staged: string, { body, bodyLength, sha256, signal }: IncomingVmState): Promise<void> {
    const { directory } = this.#parts;
    const writer = await directory.stage(staged, { digest: sha256 !== undefined });
    let isWhole = false;
    try {
      await writeAll(writer, whileWanted(expectedOf({ body, bodyLength }), signal));
      isWhole = true;
    } catch (error) {
      throw await explainStorage(directory, error);
    } finally {
      if (!isWhole) await writer.abort();
    }
    const digest = await writer.finish();
    if (sha256 !== undefined) requireDigest(present(digest, 'the digest was asked for'), sha256);
  }

  async #bind(
    image: string,
    snapshot: string,
    { path, ...brought }: Pick<IncomingVmState, 'claim' | 'passphrases'> & { readonly path: string },
  ): Promise<VmStateReceipt> {
    const control = unwatched(brought);
    return this.#access.restructure(
      image,
      'vm-state-write',
      async (visit, marked) => {
        const { id } = await findSnapshot(visit, snapshot);
        const { generation } = await marked(() => visit.run('writeVmState', { snapshot: id, path }, control));
        return { imageId: visit.imageId, snapshotId: id, generation };
      },
      control,
    );
  }
}

/** Reads by visiting the image; closing it ends the visit. */
class Reading implements VmStateReading {
  readonly imageId: string;
  readonly snapshotId: string;
  readonly generation: number;
  readonly #visit: Visit;
  readonly #ahead: ReadAhead;
  #size: number;

  constructor(
    visit: Visit,
    state: {
      readonly snapshotId: string;
      readonly length: number;
      readonly generation: number;
      readonly ahead: ReadAhead;
    },
  ) {
    this.imageId = visit.imageId;
    this.snapshotId = state.snapshotId;
    this.generation = state.generation;
    this.#size = state.length;
    this.#visit = visit;
    this.#ahead = state.ahead;
  }

  get size(): number {
    return this.#size;
  }

  async read({ offset, length }: ByteSpan): Promise<ReadChunk> {
    try {
      const chunk = await this.#visit.call('readVmState', { snapshot: this.snapshotId, offset, length });
      if (chunk.generation !== this.generation) await this.#measure();
      return chunk;
    } catch (error) {
      if (error instanceof Fault && error.code === 'range-not-satisfiable') await this.#measure();
      throw error;
    }
  }

  chunks(span: ByteSpan): AsyncIterable<Uint8Array> {
    const read = async (part: ByteSpan): Promise<Uint8Array> => {
      const { bytes, generation } = await this.read(part);
      if (generation !== this.generation) throw new Fault('precondition-failed', { generation });
      return bytes;
    };
    return inChunks(span, { read, ahead: this.#ahead });
  }

  [Symbol.dispose](): void {
    this.#visit.leave();
  }

  async #measure(): Promise<void> {
    const { length } = await this.#visit.call('vmState', { snapshot: this.snapshotId });
    this.#size = length;
  }
}

/** Work that goes on to its end, and that nobody follows. */
function unwatched(brought: Pick<IncomingVmState, 'claim' | 'passphrases'>): WorkControl {
  return {
    signal: new AbortController().signal,
    accepted: () => false,
    onProgress: () => undefined,
    ...brought,
    key: undefined,
    admitted: () => undefined,
    started: () => undefined,
    note: async () => undefined,
  };
}
