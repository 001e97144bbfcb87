// The passphrases that came with a request: one for each encrypted image that it uses.

import { Fault } from '../base/fault.ts';

/** What the images of one request have taken of its passphrases, and what they left. */
interface Taking {
  readonly left: Uint8Array[];
  readonly taken: Map<string, Uint8Array>;
}

/**
 * Each encrypted image takes the next one, in the order of its chain, the image itself first; one that is in two chains
 * of the request takes one. What is behind the last passphrase goes by what it is unlocked with for everybody.
 */
export class Passphrases {
  readonly #taking: Taking;
  /** Whether other images take what is left. */
  readonly #isShared: boolean;

  private constructor(taking: Taking, isShared: boolean) {
    this.#taking = taking;
    this.#isShared = isShared;
  }

  static of(passphrases: readonly Uint8Array[]): Passphrases {
    return new Passphrases({ left: [...passphrases], taken: new Map() }, false);
  }

  /** The same ones, for an image after which others ask. */
  get shared(): Passphrases {
    return new Passphrases(this.#taking, true);
  }

  /** That of an encrypted image; undefined when none is left. */
  take(imageId: string): Uint8Array | undefined {
    const { left, taken } = this.#taking;
    const passphrase = taken.get(imageId) ?? left.shift();
    if (passphrase !== undefined) taken.set(imageId, passphrase);
    return passphrase;
  }

  /** Fault `unsupported-option` when there is one that no image asks for. */
  requireTaken(): void {
    const { left, taken } = this.#taking;
    if (this.#isShared || left.length === 0) return;
    const reason = taken.size === 0 ? 'the image is not encrypted' : 'there are more passphrases than encrypted images';
    throw new Fault('unsupported-option', { option: 'passphrase', reason });
  }
}
