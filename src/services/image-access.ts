// The one door to images: record, state, handle, work, release. Keeps images that are in use open and in memory.

import { Fault } from '../base/fault.ts';
import type { ImageRecord, StructuralOperation } from '../catalog/catalog.ts';
import type { EditTerms, VisitorOptions } from './image-caller.ts';
import { leavesImageUnknown } from './image-failures.ts';
import { toImage } from './image-facts.ts';
import type { Image } from './image-facts.ts';
import { ImageInUse } from './image-in-use.ts';
import { deletionOf, detachmentOf } from './image-retirement.ts';
import type { Retirement } from './image-retirement.ts';
import type { ImageKeys } from './image-keys.ts';
import type { LeaseBook, LeaseClaim } from './lease-book.ts';
import { patiently } from './job-patience.ts';
import { requireUsable } from './opening.ts';
import type { Opening, OpeningParts } from './opening.ts';
import { whileMarked } from './structural-mark.ts';
import type { Marked } from './structural-mark.ts';
import { Visit } from './visit.ts';
import type { WorkControl } from './work-control.ts';

export interface ImageAccessParts extends OpeningParts {
  readonly imageIdleMs: number;
  /** How long callers may hold up a deletion, and calls the stilling of an image, in milliseconds. */
  readonly graceMs: number;
  /** Begins every write epoch: another one for every process. */
  readonly processToken: string;
  readonly leases: LeaseBook;
  readonly keys: ImageKeys;
}

/** Structural work: what changes the image stands inside `marked`. */
export type StructuralWork<Result> = (visit: Visit, marked: Marked) => Promise<Result>;

/** `{image}` is an id or a name; without such an image every verb faults `image-not-found`. */
export class ImageAccess {
  readonly #parts: ImageAccessParts;
  /** The images in use, by id and by name: an id never is a name. */
  readonly #images = new Map<string, ImageInUse>();
  readonly #doubts = new Map<string, number>();
  #draining: Fault | undefined;
  /** What has begun before the end, see {@link prepareToStop}. */
  #preparing: Promise<unknown> = Promise.resolve();
  /** Of images that did not close well at the end. */
  readonly #failures: unknown[] = [];

  constructor(parts: ImageAccessParts) {
    this.#parts = parts;
  }

  async find(image: string): Promise<ImageRecord> {
    const record = await this.#parts.catalog.findImage(image);
    if (record === undefined) throw new Fault('image-not-found', { image });
    return record;
  }

  /** Faults `image-not-ready` unless the image can be used. */
  async findReady(image: string): Promise<ImageRecord> {
    return requireUsable(this.#parts, (await this.find(image)).id, { changes: false });
  }

  /**
   * Faults `image-not-ready`; to change it also `image-has-dependents`; then what the leases say, see
   * {@link LeaseBook.admit}.
   */
  enter(image: string, visitor: VisitorOptions): Promise<Visit> {
    // Each time from the beginning: an image that nobody got into is forgotten.
    return patiently(visitor.patience, () => this.#enter(image, visitor));
  }

  /** As {@link enter}, at once; undefined where something has to be waited for. */
  enterNow(image: string, visitor: VisitorOptions): Visit | undefined {
    const known = visitor.passphrases === undefined ? this.#images.get(image) : undefined;
    const record = known?.enterNow(visitor);
    return known === undefined || record === undefined ? undefined : this.#admit(known, record, visitor);
  }

  async #enter(image: string, visitor: VisitorOptions): Promise<Visit> {
    const known = this.#images.get(image) ?? this.#keep(await this.find(image));
    const visit = this.#admit(known, await known.enter(visitor), visitor);
    try {
      if (visitor.passphrases !== undefined) await visit.bring(visitor.passphrases, this.#parts.keys);
      return visit;
    } catch (error) {
      visit.leave();
      throw error;
    }
  }

  #admit(known: ImageInUse, record: ImageRecord, visitor: VisitorOptions): Visit {
    const visit = new Visit(known, { record, visitor, leases: this.#parts.leases });
    try {
      visit.admit();
      return visit;
    } catch (error) {
      visit.leave();
      throw error;
    }
  }

  async use<Result>(
    image: string,
    options: Omit<VisitorOptions, 'signal'>,
    work: (visit: Visit) => Promise<Result>,
    control?: WorkControl,
  ): Promise<Result> {
    const visitor = { passphrases: control?.passphrases, patience: control, ...options };
    using visit = await this.enter(image, { ...visitor, signal: undefined });
    control?.admitted(visit.imageId);
    control?.started();
    return await work(visit);
  }

  /**
   * Does structural work on an image, one at a time. While `work` runs what it wraps in `marked`, the row says that the
   * operation is under way: if the process or the thread dies, the next open repairs the image first. Afterwards the
   * row knows the new facts.
   */
  async restructure<Result>(
    image: string,
    operation: StructuralOperation,
    work: StructuralWork<Result>,
    control?: WorkControl,
  ): Promise<Result> {
    const { claim, passphrases } = control ?? {};
    const visitor = { changes: true, claim, passphrases, patience: control };
    using visit = await this.enter(image, { ...visitor, signal: undefined });
    control?.admitted(visit.imageId);
    const one = this.#inUse(visit);
    const signals = control === undefined ? [] : [control.signal];
    return await one.structural.takeUnless({ signals }, async (stay) => {
      stay();
      control?.started();
      const marking = {
        ...this.#parts,
        operation,
        control,
        reopen: () => one.still(async () => undefined),
      };
      return work(visit, async (inner) => whileMarked(marking, visit, inner));
    });
  }

  /** Does a work while nobody changes the image; its file is not open for writing then. Faults `image-in-use`. */
  async still<Result>(visit: Visit, work: () => Promise<Result>): Promise<Result> {
    const one = this.#inUse(visit);
    return one.structural.take(() => one.still(work));
  }

  /** Like {@link still}, for whoever has another image's turn: the two may wait for each other, and one gives up. */
  async stillWithin<Result>(visit: Visit, work: () => Promise<Result>): Promise<Result> {
    const one = this.#inUse(visit);
    const late = (): Fault => new Fault('image-in-use', { imageId: one.id, name: one.name });
    return one.structural.takeWithin(this.#parts.graceMs, () => one.still(work), late);
  }

  /**
   * Does a long work while nobody changes the image, whose readers go on: who wants to change it waits for a grace, and is
   * `engine-busy` then. Faults `image-in-use` when what is under way does not end in time.
   */
  async keepStill<Result>(visit: Visit, work: () => Promise<Result>): Promise<Result> {
    const one = this.#inUse(visit);
    const late = (): Fault => new Fault('image-in-use', { imageId: one.id, name: one.name });
    await one.structural.takeWithin(this.#parts.graceMs, () => one.keep(), late);
    try {
      return await work();
    } finally {
      one.keepers.leave();
    }
  }

  /**
   * Does a work that has the file of an image open for writing elsewhere: nobody has it open here meanwhile, and whoever
   * wants it faults `image-in-use`. Faults as {@link stillWithin}.
   */
  async lend<Result>(visit: Visit, work: () => Promise<Result>): Promise<Result> {
    const one = this.#inUse(visit);
    const inUse = (): Fault => new Fault('image-in-use', { imageId: one.id, name: one.name });
    const lending = async (): Promise<Result> => {
      one.lent = inUse();
      try {
        await one.still(async () => undefined);
        return await work();
      } finally {
        one.lent = undefined;
      }
    };
    return one.structural.takeWithin(this.#parts.graceMs, lending, inUse);
  }

  /** In structural work: the next caller opens the image anew, with what it stands on now. */
  async reopen(visit: Visit): Promise<void> {
    await this.#inUse(visit).still(async () => undefined);
  }

  /** The image is called by another name from now on. */
  renamed(imageId: string, name: string): void {
    const known = this.#images.get(imageId);
    if (known === undefined) return;
    if (this.#images.get(known.name) === known) this.#images.delete(known.name);
    known.rename(name);
    this.#images.set(name, known);
  }

  /** Flushes and closes the file and gives its locks back; the row remembers. Detached already is no harm. */
  async detach(image: string, claim?: LeaseClaim): Promise<ImageRecord> {
    const record = await this.find(image);
    if (record.state === 'detached') {
      this.admit(record.id, claim, { changes: false });
    } else {
      const known = this.#keep(record);
      await known.retire(this.#judged(known.id, detachmentOf(this.#parts, known), { claim }));
      this.#parts.keys.forget(known.id);
    }
    return this.find(record.id);
  }

  /** See {@link ImageInUse.attach}. Attached already is no harm. */
  async attach(image: string, claim?: LeaseClaim): Promise<ImageRecord> {
    const record = await this.find(image);
    if (record.state === 'ready') {
      this.admit(record.id, claim, { changes: false });
    } else {
      await this.#keep(record).attach(() => this.admit(record.id, claim, { changes: true }));
    }
    return this.find(record.id);
  }

  /** What the leases say of a request that does not visit the image. See {@link LeaseBook.admit}. */
  admit(imageId: string, claim: LeaseClaim | undefined, use: { readonly changes: boolean }): void {
    this.#parts.leases.admit(imageId, claim, use);
  }

  /** Faults `image-not-ready` or `image-detached` when the image is going away from here, or has gone. */
  async requireKept(imageId: string): Promise<void> {
    const closedTo = this.#images.get(imageId)?.closedTo;
    if (closedTo !== undefined) throw closedTo;
    await this.findReady(imageId);
  }

  /** See {@link deletionOf}; then what the leases say, and the terms. */
  async delete(image: string, terms: Partial<EditTerms> = {}): Promise<void> {
    const known = this.#images.get(image) ?? this.#keep(await this.find(image));
    await known.retire(this.#judged(known.id, deletionOf(this.#parts, known), terms));
    this.#parts.leases.forget(known.id);
    this.#parts.runtimes.forget(known.id);
    this.#parts.keys.forget(known.id);
  }

  /** When it answers, nothing changes the image any more that was let in before its leases changed last. */
  async fence(id: string): Promise<void> {
    await tell(this.#images.get(id), ({ handle }) => handle.fence(this.#parts.leases.epochOf(id)));
  }

  /** When it answers, the image and everything above it is unlocked with the key that there is, or locked. */
  async useKeys(imageId: string): Promise<void> {
    const { keys } = this.#parts;
    const news = async ({ handle, chain }: Opening): Promise<void> => {
      if (chain.includes(imageId)) await handle.useKeys(keys.ofImages(chain));
    };
    await Promise.all(Array.from(new Set(this.#images.values()), (image) => tell(image, news)));
  }

  /** A record with what is newer in memory: the generation and the size of an image that is open. */
  live(record: ImageRecord): Image {
    const known = this.#images.get(record.id);
    const lease = this.#parts.leases.holderOf(record.id);
    if (known?.open !== true) return toImage(record, { ...record, lease });
    const { generation, virtualSize } = known.pulse;
    const facts = record.facts === undefined ? undefined : { ...record.facts, virtualSize };
    return toImage(record, { generation: Math.max(generation, record.generation), facts, lease });
  }

  /** Like {@link live}; an image that is open and answers at once also tells how large its file is now. */
  async liveSizes(record: ImageRecord): Promise<Image> {
    const known = this.#images.get(record.id);
    const image = this.live(record);
    if (known?.answers !== true || known.runCount > 0 || image.facts === undefined) return image;
    try {
      using visit = await this.enter(record.id, { changes: false, signal: undefined });
      const { fileSize, allocatedSize } = await visit.call('describe', {});
      return { ...image, facts: { ...image.facts, fileSize, allocatedSize } };
    } catch (error) {
      // The image went away meanwhile, or its thread is busy: what the row says is an answer as well.
      if (error instanceof Fault) return image;
      throw error;
    }
  }

  /** Changes whenever unflushed changes of the image may have been lost. */
  writeEpoch(visit: Visit): string {
    return `${this.#parts.processToken}.${visit.pulse.lossCount}`;
  }

  /**
   * Begins to close the images that nobody uses and to flush the others, while requests go on: {@link stop} has less to do
   * then, when time is short. What fails is its failure.
   */
  prepareToStop(): void {
    this.#preparing = this.#endEach(async (image) => {
      await image.closeIfIdle();
      if (!image.writable || !image.answers) return;
      try {
        await image.call('flush', {}, { changes: true, signal: undefined });
      } catch (error) {
        // A run does not let it in: it is flushed when it is closed.
        if (!(error instanceof Fault) || error.code !== 'engine-busy') throw error;
      }
    });
  }

  /** Lets nobody in any more, cuts whoever is in, and flushes and closes every image. Throws when one did not close well. */
  async stop(): Promise<void> {
    const draining = new Fault('draining', {});
    this.#draining = draining;
    this.#parts.keys.forgetAll();
    await this.#endEach((image) => image.shutDown(draining));
    await this.#preparing;
    if (this.#failures.length > 0) throw this.#failures[0];
  }

  async #endEach(end: (image: ImageInUse) => Promise<void>): Promise<void> {
    const endOne = async (image: ImageInUse): Promise<void> => {
      try {
        await end(image);
      } catch (error) {
        this.#parts.report({ doing: 'closing an image at the end', imageId: image.id, error });
        this.#failures.push(error);
      }
    };
    await Promise.all(Array.from(new Set(this.#images.values()), endOne));
  }

  /** What cannot be retired in any case is refused for that, before the leases and the terms are asked. */
  #judged(imageId: string, retirement: Retirement, { claim, judge }: Partial<EditTerms>): Retirement {
    const begin = async (close: () => void): Promise<boolean> => {
      for (;;) {
        const { state, version, dependentCount, protected: isProtected } = await this.find(imageId);
        const kept = retirement.keepsFile || !isProtected;
        const possible = kept && dependentCount === 0 && state !== 'creating' && state !== 'importing';
        if (possible) {
          this.#parts.leases.admit(imageId, claim, { changes: true });
          judge?.(version);
        }
        if (await retirement.begin(close, version)) return true;
      }
    };
    return { ...retirement, begin };
  }

  #inUse(visit: Visit): ImageInUse {
    return this.#keep(visit.record);
  }

  #keep(record: ImageRecord): ImageInUse {
    if (this.#draining !== undefined) throw this.#draining;
    const known = this.#images.get(record.id);
    if (known !== undefined) return known;
    const image = new ImageInUse(
      {
        ...this.#parts,
        doubts: this.#doubts,
        makeRoom: () => this.#makeRoom(),
        unused: (idle) => {
          this.#forget(idle);
        },
      },
      record,
    );
    this.#images.set(image.id, image);
    this.#images.set(image.name, image);
    return image;
  }

  #forget(image: ImageInUse): void {
    for (const key of [image.id, image.name]) {
      if (this.#images.get(key) === image) this.#images.delete(key);
    }
  }

  /** Closes some of the images that nobody uses, those of the longest idleness first. */
  async #makeRoom(): Promise<boolean> {
    const idle = [...new Set(this.#images.values())].filter((image) => image.idle);
    const longest = idle.toSorted((one, other) => one.idleSince - other.idleSince).slice(0, closedAtOnce);
    await Promise.all(longest.map((image) => image.closeIfIdle()));
    return longest.length > 0;
  }
}

async function tell(image: ImageInUse | undefined, news: (opening: Opening) => Promise<void>): Promise<void> {
  try {
    await image?.tell(news);
  } catch (error) {
    // What is lost is opened again, and asks then.
    if (!leavesImageUnknown(error, { changes: false })) throw error;
  }
}

/** How many idle images make room for one that is to be opened: they may be on other threads. */
const closedAtOnce = 16;
