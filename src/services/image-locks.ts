// Unlocking encrypted images for everybody, and locking them again.

import { keyChanceLength } from '../pool/protocol.ts';
import type { KeySlotRequest } from '../pool/protocol.ts';
import type { ImageAccess } from './image-access.ts';
import type { Image } from './image-facts.ts';
import type { ImageKeys } from './image-keys.ts';
import type { ServiceParts } from './service-parts.ts';
import type { WorkControl } from './work-control.ts';

/** What is to become of the key slots. */
export type KeySlotChange = Omit<KeySlotRequest, 'chance'>;

/** Faults everywhere: `image-not-found`, and of unlocking those of opening the image. */
export class ImageLocks {
  readonly #access: ImageAccess;
  readonly #keys: ImageKeys;
  readonly #entropy: ServiceParts['entropy'];
  readonly #parts: Pick<ServiceParts, 'catalog' | 'clock'>;

  constructor(
    parts: Pick<ServiceParts, 'catalog' | 'clock' | 'entropy'> & {
      readonly access: ImageAccess;
      readonly keys: ImageKeys;
    },
  ) {
    this.#parts = parts;
    this.#access = parts.access;
    this.#keys = parts.keys;
    this.#entropy = parts.entropy;
  }

  /**
   * Until {@link lock}, detach or the end of the process the guest data is there for everybody, also through images
   * above. The passphrase is wiped. Faults `wrong-passphrase`, `unsupported-option` for an image that is not encrypted.
   */
  async unlock(image: string, passphrase: Uint8Array, signal: AbortSignal | undefined): Promise<void> {
    try {
      using visit = await this.#access.enter(image, { changes: false, signal });
      this.#keys.unlock(visit.imageId, await visit.findKey(visit.imageId, passphrase, this.#keys));
      await this.#access.useKeys(visit.imageId);
    } finally {
      passphrase.fill(0);
    }
  }

  /**
   * A passphrase more, or one less. Nothing is changed by a refusal. Faults `wrong-passphrase`, `passphrase-required`,
   * `unsupported-option` {option, reason}, and as every change.
   */
  async changeSlots(image: string, wish: KeySlotChange, control: WorkControl): Promise<Image> {
    const chance = this.#entropy(keyChanceLength);
    const id = await this.#access.restructure(
      image,
      'amend',
      async (visit) => {
        const passphrase = wish.passphrase ?? control.passphrases?.take(visit.imageId);
        control.passphrases?.requireTaken();
        const request = { ...wish, passphrase, chance };
        const plan = await visit.during((handle, options) => handle.planKeySlots(request, options));
        await visit.call('changeKeySlots', { plan });
        await this.#parts.catalog.touchImage(visit.imageId, { nowMs: this.#parts.clock() });
        return visit.imageId;
      },
      { ...control, passphrases: undefined },
    );
    this.#keys.forgetProven(id);
    return this.#access.live(await this.#access.find(id));
  }

  /** Forgets the key. Locked already is no harm. */
  async lock(image: string): Promise<void> {
    const { id } = await this.#access.find(image);
    this.#keys.forget(id);
    await this.#access.useKeys(id);
  }
}
