// What is done to a layer as a whole, and to what it stands on: emptied, put on another base, merged, compared.

import { Fault } from '../base/fault.ts';
import type { BackingSource, EngineRuns } from '../pool/protocol.ts';
import type { ImageAccess } from './image-access.ts';
import type { Image } from './image-facts.ts';
import type { Images } from './images.ts';
import { chainBelow } from './new-images.ts';
import { requireUnprotected } from './opening.ts';
import type { ServiceParts } from './service-parts.ts';
import type { Marked } from './structural-mark.ts';
import type { Visit } from './visit.ts';
import type { WorkControl } from './work-control.ts';

export interface RebaseOptions {
  /** By id or name; undefined for none. */
  readonly backing: string | undefined;
  /** `safe` keeps what the guest sees; `unsafe` takes the caller's word that nothing differs. */
  readonly mode: 'safe' | 'unsafe';
}

type ChainsParts = Pick<ServiceParts, 'catalog' | 'clock' | 'directory'> & {
  readonly access: ImageAccess;
  readonly images: Pick<Images, 'show'>;
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
    const work = async (visit: Visit, marked: Marked): Promise<Image> => {
      await requireUnprotected(catalog, visit.imageId);
      await marked(() => visit.run('empty', {}, control));
      return images.show(visit.imageId);
    };
    return access.restructure(image, 'empty', work, control);
  }

  /**
   * Puts an image on another one, or on none. Faults `image-has-dependents`, `snapshots-need-backing`, `header-full`; of
   * the other one `image-not-found`, `image-not-ready`, `image-in-use`, `chain-too-deep`.
   */
  async rebase(image: string, options: RebaseOptions, control?: WorkControl): Promise<Image> {
    const { access, images } = this.#parts;
    const work = async (visit: Visit, marked: Marked): Promise<Image> => {
      const backing = options.backing === undefined ? undefined : await access.find(options.backing);
      if (backing?.id === visit.imageId) throw belowItself();
      await control?.note({ backingId: backing?.id ?? null });
      await marked(() => this.#rebase(visit, { backingId: backing?.id, mode: options.mode }, control));
      await access.reopen(visit);
      return images.show(visit.imageId);
    };
    return access.restructure(image, 'rebase', work, control);
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

  /** The other image is immutable before the file may name it; the row is told when it does. */
  async #rebase(
    visit: Visit,
    wish: { readonly backingId: string | undefined; readonly mode: RebaseOptions['mode'] },
    control: WorkControl | undefined,
  ): Promise<void> {
    const { catalog, clock } = this.#parts;
    const { backingId, mode } = wish;
    const chain = backingId === undefined ? [] : await this.#reserve(visit.imageId, backingId);
    await visit.run('rebase', { chain, mode }, control);
    await catalog.settleBacking(visit.imageId, { backingId, nowMs: clock() });
  }

  /** The chain that begins with the other image, nearest first. */
  async #reserve(imageId: string, backingId: string): Promise<readonly BackingSource[]> {
    const { access, catalog } = this.#parts;
    // Opening it proves that it can be used, and mends what a crash has left of it.
    using visit = await access.enter(backingId, { changes: false, signal: undefined });
    return await access.stillWithin(visit, async () => {
      const chain = await chainBelow(this.#parts, backingId);
      await catalog.reserveBacking(imageId, backingId);
      return chain;
    });
  }
}

function belowItself(): Fault {
  return new Fault('unsupported-option', { option: 'backing', reason: 'an image does not stand on itself' });
}
