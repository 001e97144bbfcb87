// What becomes of host clusters that the guest gives up, by discards and by zeroing that may unmap (OPT-07, OPT-10).

/** Runtime options of an open image; QEMU's names are pass-discard-request and discard-no-unref. */
export interface DiscardChoice {
  /** Whether their space goes back to the file system. */
  readonly passDiscard: boolean;
  /**
   * Whether they stay where they are, as zero clusters that keep their place: a file that is laid out well stays so.
   * Version 3 only; compressed clusters and those of a data file are as ever.
   */
  readonly discardNoUnref: boolean;
}

export class GivingBack {
  /** QEMU's defaults under `discard=unmap`. */
  #choice: DiscardChoice = { passDiscard: true, discardNoUnref: false };

  get passes(): boolean {
    return this.#choice.passDiscard;
  }

  get keepsPlaces(): boolean {
    return this.#choice.discardNoUnref;
  }

  /** Holds from the next change on. */
  choose(choice: DiscardChoice): void {
    this.#choice = choice;
  }
}
