// What is done with a layer as a whole, and with what it stands on: emptied, put on another base, summed up, compared.

import { Fault } from '../base/fault.ts';
import type { ImageRecord } from '../catalog/catalog.ts';
import type { Comparison, EngineRuns } from '../pool/protocol.ts';
import { borrowLayers } from './borrowed-layers.ts';
import type { ImageAccess } from './image-access.ts';
import type { Image } from './image-facts.ts';
import type { ImageKeys } from './image-keys.ts';
import type { Images } from './images.ts';
import { imagesBelow } from './new-images.ts';
import { requireUnprotected, sourceOf } from './opening.ts';
import type { ServiceParts } from './service-parts.ts';
import type { Marked } from './structural-mark.ts';
import { whileSynced } from './synced-run.ts';
import type { Visit } from './visit.ts';
import type { WorkControl } from './work-control.ts';

export interface RebaseOptions {
  /** By id or name; undefined for none. */
  readonly backing: string | undefined;
  /** `safe` keeps what the guest sees; `unsafe` takes the caller's word that nothing differs. */
  readonly mode: 'safe' | 'unsafe';
}

export interface CompareOptions {
  /** The other image, by id or name. */
  readonly with: string;
  /** Whether sizes and allocation have to be the same, too. */
  readonly strict: boolean;
}

export interface CommitOptions {
  /** An image below, by id or name; undefined for the next one. */
  readonly into?: string | undefined;
  /**
   * Whether the image keeps what it holds. Left out, it does when it is committed into a deeper one, where it could not be
   * emptied: the images between would show through.
   */
  readonly keepTop?: boolean | undefined;
}

type ChainsParts = Pick<ServiceParts, 'catalog' | 'clock' | 'directory'> & {
  readonly access: ImageAccess;
  readonly images: Pick<Images, 'show'>;
  readonly keys: Pick<ImageKeys, 'ofImages'>;
};

/** `{image}` is an id or a name everywhere; without such an image every verb faults `image-not-found`. */
export class Chains {
  readonly #parts: ChainsParts;

  constructor(parts: ChainsParts) {
    this.#parts = parts;
  }

  /** Drops all guest data of this layer. Faults `image-has-dependents`, `image-protected`. */
  async empty(image: string, control?: WorkControl): Promise<Image> {
    const { access, catalog, images } = this.#parts;
    // At once, and when it is its turn.
    await requireUnprotected(catalog, (await access.find(image)).id);
    const work = async (visit: Visit, marked: Marked): Promise<Image> => {
      await requireUnprotected(catalog, visit.imageId);
      await marked(() => visit.run('empty', {}, control));
      return images.show(visit.imageId);
    };
    return access.restructure(image, 'empty', work, control);
  }

  /**
   * Puts an image on another one, or on none. Faults `image-has-dependents`, `snapshots-need-backing`, `header-full`; of
   * the other one `image-not-found`, `image-not-ready`, `image-locked`, `image-in-use`, `chain-too-deep`, and in `safe`
   * mode `passphrase-required` {other} when it is locked.
   */
  async rebase(image: string, options: RebaseOptions, control?: WorkControl): Promise<Image> {
    const { access, images } = this.#parts;
    const passphrases = control?.passphrases;
    const { id } = await access.find(image);
    // Nobody has to wait for their turn to hear this.
    if (options.backing !== undefined && (await access.findReady(options.backing)).id === id) throw belowItself();
    const work = async (visit: Visit, marked: Marked): Promise<Image> => {
      if (options.backing === undefined) passphrases?.requireTaken();
      const backing = options.backing === undefined ? undefined : await access.find(options.backing);
      await control?.note({ backingId: backing?.id ?? null });
      await marked(() => this.#rebase(visit, { backingId: backing?.id, mode: options.mode }, control));
      await access.reopen(visit);
      return images.show(visit.imageId);
    };
    return access.restructure(image, 'rebase', work, control && { ...control, passphrases: passphrases?.shared });
  }

  /**
   * Copies what the image, and all between, have into an image below it. Faults `image-has-dependents` when anybody else
   * stands on what changes, `snapshots-need-backing`, `image-protected`, `unsupported-option`; of the images below
   * `image-locked`, `image-in-use`, and those of a resize.
   */
  async commit(image: string, options: CommitOptions, control?: WorkControl): Promise<Image> {
    const { access, catalog, images } = this.#parts;
    await access.find(image);
    if (options.into !== undefined) await access.find(options.into);
    const work = async (visit: Visit, marked: Marked): Promise<Image> => {
      const below = await this.#belowTo(visit.imageId, options.into);
      const depth = below.length;
      if (depth > 1 && options.keepTop === false) throw notEmptied();
      const empties = depth === 1 && options.keepTop !== true;
      if (empties) await requireUnprotected(catalog, visit.imageId);
      const target = below.at(-1) ?? visit.imageId;
      const run = (mend: boolean): Promise<unknown> =>
        whileSynced(this.#parts, { imageId: target, control }, (watched) =>
          visit.run('commit', { depth, mend, empties }, watched),
        );
      await marked(() => borrowLayers({ access, catalog }, { overlayId: visit.imageId, below }, run));
      return images.show(visit.imageId);
    };
    return access.restructure(image, 'commit', work, control);
  }

  /** The image holds everything itself then, and stands on none. */
  async flatten(image: string, control?: WorkControl): Promise<Image> {
    return this.rebase(image, { backing: undefined, mode: 'safe' }, control);
  }

  /** The SHA-256 of all guest bytes, of a snapshot by id or name where one is named. Faults `snapshot-not-found`. */
  async digest(
    image: string,
    { snapshot }: { readonly snapshot: string | undefined },
    control?: WorkControl,
  ): Promise<EngineRuns['digest']['result']> {
    const visitor = { changes: false, claim: control?.claim };
    const work = (visit: Visit): Promise<EngineRuns['digest']['result']> =>
      visit.run('digest', snapshot === undefined ? {} : { snapshot }, control);
    return this.#parts.access.use(image, visitor, work, control);
  }

  /**
   * Whether an image and another one hold the same. Faults of the other one `image-not-found`, `image-not-ready`,
   * `image-in-use`; `passphrase-required` {other} when it is locked.
   */
  async compare(image: string, { with: other, strict }: CompareOptions, control?: WorkControl): Promise<Comparison> {
    const { access } = this.#parts;
    const passphrases = control?.passphrases;
    const work = async (visit: Visit): Promise<Comparison> => {
      // Opening it proves that it can be used, and mends what a crash has left of it.
      const visitor = { changes: false, passphrases, patience: control };
      using beside = await access.enter(other, { ...visitor, signal: control?.signal });
      if (beside.imageId === visit.imageId) return { identical: true, firstDifference: undefined };
      return await access.keepStill(beside, () => this.#compare(visit, { beside, strict }, control));
    };
    const caller = { changes: false, claim: control?.claim, passphrases: passphrases?.shared };
    return access.use(image, caller, work, control);
  }

  async #compare(
    visit: Visit,
    { beside, strict }: { readonly beside: Visit; readonly strict: boolean },
    control: WorkControl | undefined,
  ): Promise<Comparison> {
    const { catalog, directory, keys } = this.#parts;
    const images = await catalog.listChain(beside.imageId);
    visit.use(beside.copyKeys());
    visit.use(keys.ofImages(images.map(({ id }) => id)));
    const chain = images.map((one) => sourceOf(this.#parts, one));
    return await visit.run('compare', { chain, path: directory.imagePath(visit.imageId), strict }, control);
  }

  /** The ids of the images from the next one below down to a certain one. */
  async #belowTo(imageId: string, into: string | undefined): Promise<readonly string[]> {
    const { access, catalog } = this.#parts;
    const [, ...chain] = await catalog.listChain(imageId);
    const target = into === undefined ? chain[0]?.id : (await access.find(into)).id;
    const depth = chain.findIndex(({ id }) => id === target) + 1;
    if (depth > 0) return chain.slice(0, depth).map(({ id }) => id);
    const reason =
      chain.length === 0 ? 'the image stands on no other image' : 'the image does not stand on such an image';
    throw new Fault('unsupported-option', { option: 'into', reason });
  }

  /** The other image is immutable before the file may name it; the row is told when it does. */
  async #rebase(
    visit: Visit,
    wish: { readonly backingId: string | undefined; readonly mode: RebaseOptions['mode'] },
    control: WorkControl | undefined,
  ): Promise<void> {
    const { catalog, clock, keys } = this.#parts;
    const { backingId, mode } = wish;
    const images = backingId === undefined ? [] : await this.#reserve(visit, backingId, control);
    const chain = images.map((image) => sourceOf(this.#parts, image));
    const ids = images.map(({ id }) => id);
    visit.use(keys.ofImages(ids));
    const unlocked = keys.ofImages(ids);
    try {
      await whileSynced(this.#parts, { imageId: visit.imageId, control }, (watched) =>
        visit.run('rebase', { chain, mode, keys: unlocked }, watched),
      );
    } finally {
      for (const key of unlocked.values()) key.fill(0);
    }
    await catalog.settleBacking(visit.imageId, { backingId, nowMs: clock() });
  }

  /**
   * The chain that begins with the other image, nearest first; the passphrases that are left are its. The claim of the
   * request is one on the image itself, so nobody may hold the other one exclusively.
   */
  async #reserve(image: Visit, backingId: string, control: WorkControl | undefined): Promise<readonly ImageRecord[]> {
    const { access, catalog } = this.#parts;
    // Opening it proves that it can be used, and mends what a crash has left of it.
    const visitor = { changes: false, overlays: true, passphrases: control?.passphrases, patience: control };
    using visit = await access.enter(backingId, { ...visitor, signal: undefined });
    image.use(visit.copyKeys());
    return await access.stillWithin(visit, async () => {
      // Somebody may have got a lease meanwhile.
      visit.admit();
      const chain = await imagesBelow(this.#parts, backingId);
      await catalog.reserveBacking(image.imageId, backingId);
      return chain;
    });
  }
}

function notEmptied(): Fault {
  const reason = 'an image that is committed into a deeper one keeps its data: what lies between would show through';
  return new Fault('unsupported-option', { option: 'keepTop', reason });
}

function belowItself(): Fault {
  return new Fault('unsupported-option', { option: 'backing', reason: 'an image does not stand on itself' });
}
