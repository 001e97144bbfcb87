// The part of the face of the engine that knows of keys and passphrases.

import { BitmapVerbs } from './bitmap-verbs.ts';
import type { LuksHeader } from './format/luks-header.ts';
import type { VolumeKeys } from './operations/chain-keys.ts';
import type { ImageSession } from './operations/image-session.ts';
import { changeKeySlots, luksHash, planKeySlots } from './operations/key-slots.ts';
import type { KeySlotPlan, KeySlotWish } from './operations/key-slots.ts';
import { findVolumeKey } from './operations/unlock.ts';
import type { WithKeys } from './transform/key-derivation.ts';

/** The verbs that lock and unlock an open image, and change its passphrases. */
export class KeyVerbs extends BitmapVerbs {
  readonly #session: ImageSession;

  protected constructor(session: ImageSession) {
    super(session);
    this.#session = session;
  }

  /**
   * The volume key of an encrypted image, or of the layer below it in the file `below`, which the caller wipes; other
   * verbs may run meanwhile. Faults `wrong-passphrase`, `encryption-unsupported`, `luks-header-invalid`,
   * `unsupported-option`.
   */
  findVolumeKey(passphrase: Uint8Array, below?: string): WithKeys<Uint8Array> {
    const { files, parts } = this.#session;
    return findVolumeKey(below === undefined ? parts : files.chain.keys.partsOf(below), passphrase);
  }

  /** Guest data can be read and written with this key; before it, verbs that need it fault `passphrase-required`. */
  unlock(volumeKey: Uint8Array): void {
    this.#session.unlock(volumeKey);
  }

  /** Forgets the key. */
  lock(): void {
    this.#session.lock();
  }

  /** As {@link unlock} for the encrypted layers below, each by the path of its file; one without a key is locked. */
  unlockBelow(volumeKeys: VolumeKeys): void {
    this.#session.unlockBelow(volumeKeys);
  }

  /** What is to be written for a change of the key slots; as {@link findVolumeKey}, other verbs may run meanwhile. */
  planKeySlots(wish: KeySlotWish): WithKeys<KeySlotPlan> {
    return planKeySlots(this.#session.parts, wish);
  }

  /** What a slot's key is hashed with, and how long it is. Faults `luks-header-invalid`, `unsupported-option`. */
  luksHash(): Pick<LuksHeader, 'hash' | 'keyLength'> {
    return luksHash(this.#session.parts);
  }

  /** Durable when it returns; a crash leaves every passphrase but the one that changes. */
  changeKeySlots(plan: KeySlotPlan): void {
    this.#session.changeBitmaps((parts) => {
      changeKeySlots(parts, plan);
    });
  }
}
