// One timer for everything that waits at the gates of a thread's images.

interface Waiting {
  /** When the next one gives up; `Infinity` when none does. */
  readonly deadlineMs: number;
}

export class DeadlineWatch {
  readonly #clock: () => number;
  readonly #gates: () => readonly Waiting[];
  readonly #onDue: () => void;
  #timer: NodeJS.Timeout | undefined;

  constructor(parts: {
    readonly clock: () => number;
    readonly gates: () => readonly Waiting[];
    /** Takes out whoever gives up now. */
    readonly onDue: () => void;
  }) {
    this.#clock = parts.clock;
    this.#gates = parts.gates;
    this.#onDue = parts.onDue;
  }

  /** Somebody waits. Begun already is no harm. */
  begin(): void {
    if (this.#timer !== undefined) return;
    const earliestMs = Math.min(...this.#gates().map(({ deadlineMs }) => deadlineMs));
    if (earliestMs === Infinity) return;
    const delayMs = Math.max(0, Math.ceil(earliestMs - this.#clock()));
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#onDue();
      this.begin();
    }, delayMs);
  }

  end(): void {
    clearTimeout(this.#timer);
  }
}
