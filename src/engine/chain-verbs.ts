// What is done to an image as a layer of its chain, as a part of the face of the engine.

import { layerOver } from './data/image-layer.ts';
import { KeyVerbs } from './key-verbs.ts';
import { commit } from './operations/commit.ts';
import type { CommitWish } from './operations/commit.ts';
import { compare } from './operations/compare.ts';
import type { Comparison, ComparisonWish } from './operations/compare.ts';
import type { ImageSession } from './operations/image-session.ts';
import { sharedLayers } from './operations/rebase.ts';
import type { RebaseWish } from './operations/rebase.ts';
import type { Steps } from './operations/steps.ts';

/** The verbs of an open image and of what it stands on, or stands beside. */
export class ChainVerbs extends KeyVerbs {
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
  commit(wish: CommitWish): Steps<void> {
    this.#session.admitKeys('chain');
    return commit(this.#session, wish);
  }

  /**
   * Whether the disk is that of another image; nothing may change meanwhile. See {@link compare}. Fault
   * `passphrase-required` {other: true} when something of the other one is locked.
   */
  compareWith(wish: ComparisonWish): Steps<Comparison> {
    const { files, parts, header } = this.#session;
    this.#session.admitKeys('chain');
    const own = layerOver(parts, header.virtualSize);
    const ownFiles = [{ path: wish.path }, ...files.chain.files];
    const shared = sharedLayers(ownFiles, wish.chain);
    return files.besideChain(wish.chain, (layer) =>
      compare(
        { layer: own, fileCount: ownFiles.length, sharedFrom: shared.old },
        { layer, fileCount: wish.chain.length, sharedFrom: shared.new },
        wish,
      ),
    );
  }
}
