// What a check found: qemu-img's words and counters (CHK-01, CHK-15).

/** One finding; `message` is a sentence for a person. Offsets in bytes, left out from 2^53 on. */
export interface CheckFinding {
  readonly kind: 'corruption' | 'leak' | 'check-error';
  readonly guestOffset?: number;
  readonly hostOffset?: number;
  readonly message: string;
}

/** Counters of one check, after the repair if there was one. Fragmentation counts are the active layer's. */
export interface CheckReport {
  readonly checkErrors: number;
  readonly corruptions: number;
  readonly leaks: number;
  readonly corruptionsFixed: number;
  readonly leaksFixed: number;
  /** Where the last used host cluster ends, in bytes. */
  readonly imageEndOffset: number;
  readonly totalClusters: number;
  readonly allocatedClusters: number;
  readonly fragmentedClusters: number;
  readonly compressedClusters: number;
  /** No corruptions, leaks or check errors remain. */
  readonly clean: boolean;
  /** The first {@link findingsMax} findings. */
  readonly findings: readonly CheckFinding[];
}

/** How many findings a report holds; the counters stay exact. */
export const findingsMax = 100;

/** What a check may mend. */
export type RepairMode = 'none' | 'leaks' | 'all';
