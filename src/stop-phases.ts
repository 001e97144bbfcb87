// The end of the service in named phases, which together get only so much time.

/** A part of the stop. */
export interface StopPhase {
  readonly name: string;
  /** So much of the time is left to the phases that follow, in milliseconds. */
  readonly spareMs: number;
  /** Whether nothing is lost when the process ends in the middle of it. */
  readonly mayBeCut: boolean;
  readonly end: () => Promise<void>;
}

/** A phase that failed, or did not come to its end. */
export interface StopFailure {
  readonly phase: string;
  readonly error: unknown;
  /** It was late, and nothing is lost by that. */
  readonly isCut: boolean;
}

/** Every phase gets its turn, whatever became of the one before, and what time the others leave it. Returns what went wrong. */
export async function endPhases(
  phases: readonly StopPhase[],
  { limitMs, clock }: { readonly limitMs: number; readonly clock: () => number },
): Promise<readonly StopFailure[]> {
  const failures: StopFailure[] = [];
  const deadline = clock() + limitMs;
  for (const phase of phases) {
    const late = new Late(phase.name, Math.max(deadline - clock() - phase.spareMs, 0));
    try {
      await within(phase, late);
    } catch (error) {
      failures.push({ phase: phase.name, error, isCut: phase.mayBeCut && error === late });
    }
  }
  return failures;
}

class Late extends Error {
  override readonly name = 'Late';
  readonly limitMs: number;

  constructor(phase: string, limitMs: number) {
    super(`"${phase}" took longer than ${Math.round(limitMs)} ms`);
    this.limitMs = limitMs;
  }
}

async function within({ end }: StopPhase, late: Late): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(late), late.limitMs);
  });
  try {
    await Promise.race([end(), limit]);
  } finally {
    clearTimeout(timer);
  }
}
