// What becomes of host clusters that the guest gives up, by discards and by zeroing that may unmap (OPT-07, OPT-10).

/** Runtime options of an open image; QEMU's names are pass-discard-request and discard-no-unref. */
export interface GivingBack {
  /** Whether their space goes back to the file system. */
  readonly passDiscard: boolean;
  /**
   * Whether they stay where they are, as zero clusters that keep their place: a file that is laid out well stays so.
   * Version 3 only; compressed clusters and those of a data file are as ever.
   */
  readonly discardNoUnref: boolean;
}
