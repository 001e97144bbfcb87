// What is done to an image as a layer of its chain, as a part of the face of the engine.

import { BitmapVerbs } from './bitmap-verbs.ts';
import { commit } from './operations/commit.ts';
import type { ImageSession } from './operations/image-session.ts';
import type { RebaseWish } from './operations/rebase.ts';
import type { Steps } from './operations/steps.ts';

/** The verbs of an open image and of what it stands on. */
export class ChainVerbs extends BitmapVerbs {
  readonly #session: ImageSession;

  protected constructor(session: ImageSession) {
    super(session);
    this.#session = session;
  }

  /** Drops all guest data of this image: what lies below shows through. Snapshots and the size stay. */
  empty(): Steps<void> {
    return this.#session.emptyInSteps();
  }

  /** Puts the image on another chain, nearest first, or on none; see {@link RebaseWish}. */
  rebase(wish: RebaseWish): Steps<void> {
    if (wish.mode === 'safe') this.#session.admitKeys('chain');
    return this.#session.rebaseInSteps(wish);
  }

  /**
   * Copies what the image and all above the layer `depth` below it have into that layer, which nobody else may have open;
   * see {@link commit}. The image stays as it is: {@link empty} it when its next layer has everything.
   */
  commit({ depth }: { readonly depth: number }): Steps<void> {
    this.#session.admitKeys('chain');
    return commit(this.#session, depth);
  }
}
