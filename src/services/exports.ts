// Images that go out as one standalone file, flattened; laid out and never stored, or packed.

import { assert } from '../base/assert.ts';
import type { ByteSpan } from '../base/byte-span.ts';
import { Fault } from '../base/fault.ts';
import type { CallOptions, EngineHandle } from '../pool/engine-pool.ts';
import type { EngineCalls } from '../pool/protocol.ts';
import type { ExportOptions, ExportSession } from './export-session.ts';
import type { ImageAccess } from './image-access.ts';
import { makePacked } from './packed-export.ts';
import type { PackedExportParts } from './packed-export.ts';
import type { ReadAhead } from './read-ahead.ts';
import { chunkLengthMax, inChunks } from './read-session.ts';
import type { ServiceParts } from './service-parts.ts';
import { findSnapshot } from './snapshot-lookup.ts';
import { Turns } from './turns.ts';
import type { Visit } from './visit.ts';

export type ExportsParts = PackedExportParts & Pick<ServiceParts, 'report'> & { readonly access: ImageAccess };

export class Exports {
  readonly #parts: ExportsParts;

  constructor(parts: ExportsParts) {
    this.#parts = parts;
  }

  /**
   * Faults `image-not-found`, `image-not-ready`, `snapshot-not-found`; compressed also `unsupported-option` for a raw file,
   * `quota-exceeded`, `insufficient-storage`, and the caller waits for all of it.
   */
  async openExport(image: string, options: ExportOptions): Promise<ExportSession> {
    const { format, layer, compress, signal, claim, passphrases } = options;
    if (compress && format === 'raw') {
      throw new Fault('unsupported-option', { option: 'compress', value: true, reason: 'a raw file has no clusters' });
    }
    const visit = await this.#parts.access.enter(image, { changes: false, signal, claim, passphrases });
    try {
      const snapshot = options.snapshot === undefined ? undefined : await findSnapshot(visit, options.snapshot);
      if (compress) {
        const packed = await makePacked(this.#parts, visit, { snapshot, layer });
        visit.leave();
        return packed;
      }
      const asked = snapshot === undefined ? { format, layer } : { format, layer, snapshot: snapshot.id };
      const plan = await visit.during((handle, callOptions) => planOn(handle, asked, callOptions));
      return new PlannedExport({ visit, asked, plan, report: this.#parts.report, ahead: this.#parts.ahead });
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
  readonly edition = undefined;
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
