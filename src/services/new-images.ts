// New images: a row and a name first, the file in staging, then published; or nothing is left of them.

import { present } from '../base/assert.ts';
import { Fault } from '../base/fault.ts';
import type { ImageRecord, ImageReservation, Labels } from '../catalog/catalog.ts';
import type { BackingSource, ImageDescription } from '../pool/protocol.ts';
import type { ImageAccess } from './image-access.ts';
import { factsOf, toImage } from './image-facts.ts';
import type { Image } from './image-facts.ts';
import { sourceOf } from './opening.ts';
import type { OpeningParts } from './opening.ts';
import { Presence } from './presence.ts';
import type { ServiceParts } from './service-parts.ts';
import { explainStorage } from './storage-faults.ts';
import type { WorkControl } from './work-control.ts';

/** What a new image is called, and what it stands on. */
export interface NewImageOptions {
  readonly name: string;
  readonly description: string;
  readonly labels: Labels;
  readonly state: ImageReservation['state'];
  /** The image below, by id or name. */
  readonly backing: string | undefined;
  /** Ends the making; nothing is left then. */
  readonly signal: AbortSignal | undefined;
  /** Who watches the making. */
  readonly control: WorkControl | undefined;
}

/** A reserved image whose file is to be made. */
export interface Draft {
  readonly id: string;
  /** Where the file is made. */
  readonly path: string;
  readonly base: BaseImage | undefined;
  /** Also aborted when the service stops. */
  readonly signal: AbortSignal;
}

/** The image below a draft. */
export interface BaseImage {
  readonly source: BackingSource;
  /** The chain below that image, nearest first. */
  readonly below: readonly BackingSource[];
  readonly virtualSize: number;
}

/** The file is there, closed and durable but for its name. */
export interface MadeFile {
  readonly description: ImageDescription;
  readonly generation: number;
}

/** How many images may stand on each other. */
export const chainDepthMax = 64;

/** The generation of a file that nobody has changed yet. */
export const generationFirst = 1;

export type NewImagesParts = OpeningParts & Pick<ServiceParts, 'newId'> & { readonly access: ImageAccess };

export class NewImages {
  readonly #parts: NewImagesParts;
  readonly #making = new Presence();
  readonly #stopping = new AbortController();

  constructor(parts: NewImagesParts) {
    this.#parts = parts;
  }

  /**
   * Takes the name, has the file made and publishes it. When anything fails, file and row are taken away again. Faults
   * `name-conflict`; of the base `image-not-found`, `image-not-ready`, `image-in-use`, `chain-too-deep`, and
   * those of its leases, which are asked with the claim of the request: see {@link LeaseBook.admit}.
   */
  async make(options: NewImageOptions, makeFile: (draft: Draft) => Promise<MadeFile>): Promise<Image> {
    this.#stopping.signal.throwIfAborted();
    return this.#making.during(async () => {
      options.signal?.throwIfAborted();
      const { directory, newId } = this.#parts;
      const id = newId('img');
      await options.control?.note({ imageId: id });
      const base = await this.#reserve(id, options);
      const signals = [this.#stopping.signal, ...(options.signal === undefined ? [] : [options.signal])];
      const draft = { id, path: directory.stagingPath(id), base, signal: AbortSignal.any(signals) };
      try {
        return await this.#publish(draft, await makeFile(draft), options.control?.key);
      } catch (error) {
        await this.#undo(id);
        throw await explainStorage(directory, error);
      }
    });
  }

  /** Ends what is being made; nothing is made any more. */
  cut(): void {
    this.#stopping.abort(new Fault('draining', {}));
  }

  /** Waits until nothing is being made, and nothing is left of what was cut. */
  async whenOver(): Promise<void> {
    await this.#making.untilEmpty();
  }

  /** From the row on the base is immutable, so the row comes while nobody changes it. */
  async #reserve(id: string, options: NewImageOptions): Promise<BaseImage | undefined> {
    if (options.backing === undefined) {
      await this.#reserveRow(id, options, undefined);
      return undefined;
    }
    const { access } = this.#parts;
    // Opening the base proves that it can be used, and mends what a crash has left of it.
    const { signal, control: patience } = options;
    const visitor = { changes: false, overlays: true, claim: patience?.claim, signal, patience };
    using visit = await access.enter(options.backing, visitor);
    const chain = await access.still(visit, async () => {
      // Somebody may have got a lease meanwhile.
      visit.admit();
      const found = (await imagesBelow(this.#parts, visit.imageId)).map((image) => sourceOf(this.#parts, image));
      await this.#reserveRow(id, options, visit.imageId);
      return found;
    });
    const [source, ...below] = chain;
    return { source: present(source, 'a base is in its own chain'), below, virtualSize: visit.pulse.virtualSize };
  }

  async #reserveRow(id: string, options: NewImageOptions, backingId: string | undefined): Promise<ImageRecord> {
    const { name, description, labels, state } = options;
    const nowMs = this.#parts.clock();
    return this.#parts.catalog.reserveImage({
      id,
      name,
      description,
      labels,
      state,
      backingId,
      facts: undefined,
      nowMs,
    });
  }

  async #publish(draft: Draft, made: MadeFile, key: string | undefined): Promise<Image> {
    const { catalog, directory, clock } = this.#parts;
    draft.signal.throwIfAborted();
    await directory.publish(draft.id);
    const update = {
      facts: factsOf(made.description),
      generation: made.generation,
      settled: true,
      snapshotIdMax: made.description.snapshotIdMax,
      identity: await directory.identify(draft.id),
      nowMs: clock(),
    };
    const record = await catalog.publishImage(draft.id, update, key);
    return toImage(record, { ...record, lease: undefined });
  }

  /** What fails here is finished at the next start; the caller hears of the first failure. */
  async #undo(id: string): Promise<void> {
    try {
      await removeTraces(this.#parts, id);
    } catch (error) {
      this.#parts.report({ doing: 'taking back an image that was not made', imageId: id, error });
    }
  }
}

/** The chain below an image that is to stand on `backingId`, nearest first. Fault `chain-too-deep`. */
export async function imagesBelow(
  parts: Pick<OpeningParts, 'catalog'>,
  backingId: string,
): Promise<readonly ImageRecord[]> {
  const chain = await parts.catalog.listChain(backingId);
  if (chain.length + 1 > chainDepthMax) {
    throw new Fault('chain-too-deep', { imageId: backingId, depth: chain.length + 1, depthMax: chainDepthMax });
  }
  return chain;
}

/** Takes away the files of an image, then its row: a file without a row would be nobody's. */
export async function removeTraces(parts: Pick<OpeningParts, 'catalog' | 'directory'>, id: string): Promise<void> {
  await parts.directory.remove('staging', id);
  await parts.directory.remove('images', id);
  await parts.catalog.removeImage(id);
}
