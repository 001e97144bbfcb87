// Images that go out as one standalone file, flattened and never stored.

import { assert } from '../base/assert.ts';
import type { ByteSpan } from '../base/byte-span.ts';
import { Fault } from '../base/fault.ts';
import type { CallOptions, EngineHandle } from '../pool/engine-pool.ts';
import type { EngineCalls } from '../pool/protocol.ts';
import type { ImageAccess } from './image-access.ts';
import type { LeaseClaim } from './lease-book.ts';
import type { Passphrases } from './passphrases.ts';
import type { ReadAhead } from './read-ahead.ts';
import { chunkLengthMax, inChunks } from './read-session.ts';
import type { ServiceParts } from './service-parts.ts';
import { findSnapshot } from './snapshot-lookup.ts';
import { Turns } from './turns.ts';
import type { Visit } from './visit.ts';

/** Which file to lay out. */
export interface ExportOptions {
  readonly format: 'qcow2' | 'raw';
  readonly snapshot: string | undefined;
  /** `top`: this image's own bytes only. */
  readonly layer: 'all' | 'top';
  readonly signal: AbortSignal | undefined;
  readonly claim?: LeaseClaim | undefined;
  readonly passphrases?: Passphrases | undefined;
}

/** A file laid out at one generation. Close it at the end, whatever happens. */
export interface ExportSession extends Disposable {
  readonly imageId: string;
  readonly imageName: string;
  /** The id in the file of the snapshot that is exported; it never comes back. Undefined for the live image. */
  readonly snapshotId: string | undefined;
  /** The exact length of the file in bytes. */
  readonly length: number;
  /** The generation of the guest data in the file; of a snapshot's file: that of its image now, the file never changes. */
  readonly generation: number;
  /** At most `chunkLengthMax` bytes inside `length`. Faults `export-stale` when the live image has changed. */
  read(span: ByteSpan): Promise<Uint8Array>;
  /** The whole span in chunks, read when they are asked for. */
  chunks(span: ByteSpan): AsyncIterable<Uint8Array>;
  close(): void;
}

export class Exports {
  readonly #access: ImageAccess;
  readonly #report: ServiceParts['report'];
  readonly #ahead: ReadAhead;

  constructor(parts: Pick<ServiceParts, 'report'> & { readonly access: ImageAccess; readonly ahead: ReadAhead }) {
    this.#access = parts.access;
    this.#ahead = parts.ahead;
    this.#report = parts.report;
  }

  /** Faults `image-not-found`, `image-not-ready`, `snapshot-not-found`. */
  async openExport(image: string, options: ExportOptions): Promise<ExportSession> {
    const { format, layer, signal, claim, passphrases } = options;
    const visit = await this.#access.enter(image, { changes: false, signal, claim, passphrases });
    try {
      const snapshot = options.snapshot === undefined ? undefined : await findSnapshot(visit, options.snapshot);
      const asked = snapshot === undefined ? { format, layer } : { format, layer, snapshot: snapshot.id };
      const plan = await visit.during((handle, callOptions) => planOn(handle, asked, callOptions));
      return new PlannedExport({ visit, asked, plan, report: this.#report, ahead: this.#ahead });
    } catch (error) {
      visit.leave();
      throw error;
    }
  }
}

type PlanArgs = EngineCalls['planExport']['args'];

/** A plan is good on the handle that it was made with: when the image was opened again meanwhile, it is made again. */
class PlannedExport implements ExportSession {
  readonly imageId: string;
  readonly imageName: string;
  readonly snapshotId: string | undefined;
  readonly length: number;
  readonly generation: number;
  readonly #visit: Visit;
  readonly #asked: PlanArgs;
  readonly #report: ServiceParts['report'];
  readonly #ahead: ReadAhead;
  readonly #turns = new Turns();
  #plan: Plan;
  #closed = false;

  constructor(parts: {
    readonly visit: Visit;
    readonly asked: PlanArgs;
    readonly plan: Plan;
    readonly report: ServiceParts['report'];
    readonly ahead: ReadAhead;
  }) {
    const { visit, asked, plan } = parts;
    this.imageId = visit.imageId;
    this.imageName = visit.record.name;
    this.snapshotId = asked.snapshot;
    this.length = plan.length;
    this.generation = plan.generation;
    this.#visit = visit;
    this.#asked = asked;
    this.#plan = plan;
    this.#report = parts.report;
    this.#ahead = parts.ahead;
  }

  async read({ offset, length }: ByteSpan): Promise<Uint8Array> {
    assert(length <= chunkLengthMax, 'a chunk is not longer than a chunk may be');
    assert(offset + length <= this.length, 'a chunk lies inside the file');
    return this.#visit.during(async (handle, options) => {
      if (!this.#visit.holds(this.#plan.handle)) await this.#turns.take(() => this.#planAgain(handle, options));
      const plan = this.#plan;
      return (await plan.handle.call('readExport', { id: plan.id, offset, length }, options)).bytes;
    });
  }

  chunks(span: ByteSpan): AsyncIterable<Uint8Array> {
    return inChunks(span, { read: (part) => this.read(part), ahead: this.#ahead });
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#end().catch((error: unknown) => {
      this.#report({ doing: 'closing an export', imageId: this.imageId, error });
    });
  }

  [Symbol.dispose](): void {
    this.close();
  }

  async #planAgain(handle: EngineHandle, options: CallOptions): Promise<void> {
    if (this.#visit.holds(this.#plan.handle)) return;
    const plan = await planOn(handle, this.#asked, options);
    const same = plan.length === this.length && (this.snapshotId !== undefined || plan.generation === this.generation);
    if (!same) throw new Fault('export-stale', { imageId: this.imageId, generation: plan.generation });
    this.#plan = plan;
  }

  async #end(): Promise<void> {
    try {
      const { id, handle } = this.#plan;
      await this.#visit.whileOn(handle, () => handle.call('closeExport', { id }, { signal: undefined }));
    } finally {
      this.#visit.leave();
    }
  }
}

type Plan = EngineCalls['planExport']['result'] & { readonly handle: EngineHandle };

async function planOn(handle: EngineHandle, asked: PlanArgs, options: CallOptions): Promise<Plan> {
  return { ...(await handle.call('planExport', asked, options)), handle };
}
