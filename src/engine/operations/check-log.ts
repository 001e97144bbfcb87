// The running account of a check: exact counters and the first findings.

import { findingsMax } from './check-report.ts';
import type { CheckFinding } from './check-report.ts';

/** Makes the finding only while there is room for one: a damaged image can have millions. */
export type FindingMaker = () => Omit<CheckFinding, 'kind'>;

export class CheckLog {
  corruptions = 0;
  leaks = 0;
  checkErrors = 0;
  corruptionsFixed = 0;
  leaksFixed = 0;
  readonly #findings: CheckFinding[] = [];

  get findings(): readonly CheckFinding[] {
    return this.#findings;
  }

  /** `count` corruptions of one kind at one place: a table that is reached n times counts n times, as in QEMU. */
  corruption(count: number, maker: FindingMaker): void {
    this.corruptions += count;
    this.#find('corruption', maker);
  }

  leak(maker: FindingMaker): void {
    this.leaks += 1;
    this.#find('leak', maker);
  }

  /** `count` things that could not be judged. */
  error(count: number, maker: FindingMaker): void {
    this.checkErrors += count;
    this.#find('check-error', maker);
  }

  /** Takes the counters and findings of `other` over. */
  add(other: CheckLog): void {
    this.corruptions += other.corruptions;
    this.leaks += other.leaks;
    this.checkErrors += other.checkErrors;
    this.corruptionsFixed += other.corruptionsFixed;
    this.leaksFixed += other.leaksFixed;
    for (const finding of other.findings) if (this.#findings.length < findingsMax) this.#findings.push(finding);
  }

  #find(kind: CheckFinding['kind'], maker: FindingMaker): void {
    if (this.#findings.length >= findingsMax) return;
    const { guestOffset, hostOffset, message } = maker();
    this.#findings.push({ kind, ...exact({ guestOffset, hostOffset }), message });
  }
}

/** The offsets that are told: a broken field may hold one of 2^53 or more, which a plain number holds about only. */
function exact(
  offsets: Readonly<Record<'guestOffset' | 'hostOffset', number | undefined>>,
): Pick<CheckFinding, 'guestOffset' | 'hostOffset'> {
  const { guestOffset, hostOffset } = offsets;
  return {
    ...(guestOffset !== undefined && Number.isSafeInteger(guestOffset) ? { guestOffset } : {}),
    ...(hostOffset !== undefined && Number.isSafeInteger(hostOffset) ? { hostOffset } : {}),
  };
}
