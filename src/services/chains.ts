// What is done to a layer as a whole, and to what it stands on: emptied, put on another base, merged, compared.

import { requireUnprotected } from './opening.ts';
import type { ImageAccess } from './image-access.ts';
import type { Image } from './image-facts.ts';
import type { Images } from './images.ts';
import type { ServiceParts } from './service-parts.ts';
import type { Marked } from './structural-mark.ts';
import type { Visit } from './visit.ts';
import type { WorkControl } from './work-control.ts';

/** `{image}` is an id or a name everywhere; without such an image every verb faults `image-not-found`. */
export class Chains {
  readonly #catalog: ServiceParts['catalog'];
  readonly #access: ImageAccess;
  readonly #images: Pick<Images, 'show'>;

  constructor(
    parts: Pick<ServiceParts, 'catalog'> & { readonly access: ImageAccess; readonly images: Pick<Images, 'show'> },
  ) {
    this.#catalog = parts.catalog;
    this.#access = parts.access;
    this.#images = parts.images;
  }

  /** Drops all guest data of this layer. Faults `image-has-dependents`, `image-protected`. */
  async empty(image: string, control?: WorkControl): Promise<Image> {
    const work = async (visit: Visit, marked: Marked): Promise<Image> => {
      await requireUnprotected(this.#catalog, visit.imageId);
      await marked(() => visit.run('empty', {}, control));
      return this.#images.show(visit.imageId);
    };
    return this.#access.restructure(image, 'empty', work, control);
  }
}
