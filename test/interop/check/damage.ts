// What a case of the check tests is: a sound image, what is done to its bytes, and where we differ from QEMU on purpose.

import type { CheckReport } from '../../../src/engine/operations/check-report.ts';
import type { ImageBytes } from '../../support/image-bytes.ts';
import type { BaseName } from './images.ts';

/** The numbers of a report. */
export type Counters = Omit<CheckReport, 'clean' | 'findings'>;

/** A deliberate difference: the row that decides it, the reason, and what we say in the places where we differ. */
export interface Difference {
  readonly row: string;
  readonly reason: string;
  /** Ours, where it is not QEMU's; a mode that is left out does not differ. */
  readonly none?: Partial<Counters>;
  readonly leaks?: Partial<Counters>;
  readonly all?: Partial<Counters>;
  /** A plain check by QEMU of what our repair left, where that is not what it says of its own. */
  readonly afterLeaks?: Partial<Counters>;
  readonly afterAll?: Partial<Counters>;
}

export interface Damage {
  readonly title: string;
  readonly bases: readonly BaseName[];
  readonly damage: (image: ImageBytes) => void;
  readonly difference?: Difference;
  /** QEMU does not even open it: then no repair of ours changes a byte either. */
  readonly refused?: boolean;
  /** The guest sees a table, so a repair of the table changes what it sees. */
  readonly showsMetadata?: boolean;
}

/** Bit 63 of an entry. */
export const owned = 0x8000_0000_0000_0000n;
/** Bit 62 of an L2 entry. */
export const compressed = 0x4000_0000_0000_0000n;
