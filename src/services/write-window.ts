// A window of writes under way: bounded, in order, and exact about what has arrived when one of them fails.

/** How a write ended. */
type Outcome = { readonly failed: false } | { readonly failed: true; readonly error: unknown };

interface PendingWrite {
  readonly length: number;
  readonly outcome: Promise<Outcome>;
}

/** Writes begin in order; at most so many are under way. The first failure ends it. */
export class WriteWindow {
  readonly #widthMax: number;
  readonly #pending: PendingWrite[] = [];
  #written = 0;
  #failure: { readonly error: unknown } | undefined;

  constructor(options: { readonly widthMax: number }) {
    this.#widthMax = options.widthMax;
  }

  /** The bytes from the start that have arrived without a gap. */
  get written(): number {
    return this.#written;
  }

  /** Begins a write of so many bytes as soon as there is room. Throws what a write before it has thrown. */
  async add(length: number, write: () => Promise<unknown>): Promise<void> {
    while (this.#pending.length >= this.#widthMax) await this.#settleOldest();
    this.#throwFailure();
    this.#pending.push({ length, outcome: outcomeOf(write) });
  }

  /** Waits for all writes that are under way. Throws what the first failed one has thrown. */
  async finish(): Promise<void> {
    await this.end();
    this.#throwFailure();
  }

  /** Waits for all writes that are under way; their failures are {@link finish}'s. */
  async end(): Promise<void> {
    while (this.#pending.length > 0) await this.#settleOldest();
  }

  async #settleOldest(): Promise<void> {
    const oldest = this.#pending.shift();
    if (oldest === undefined) return;
    const outcome = await oldest.outcome;
    if (this.#failure !== undefined) return;
    if (outcome.failed) {
      this.#failure = { error: outcome.error };
      return;
    }
    this.#written += oldest.length;
  }

  #throwFailure(): void {
    if (this.#failure !== undefined) throw this.#failure.error;
  }
}

/** A failure is kept until somebody asks: until then nobody awaits it. */
async function outcomeOf(write: () => Promise<unknown>): Promise<Outcome> {
  try {
    await write();
    return { failed: false };
  } catch (error) {
    return { failed: true, error };
  }
}
