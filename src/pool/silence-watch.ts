// Whether a thread that owes answers says anything: a hung disk keeps its thread inside one system call.

export interface SilenceWatchParts {
  /** How long a thread may owe answers and say nothing, in milliseconds; it is noticed at most half of that later. */
  readonly limitMs: number;
  /** Whether the thread owes an answer. */
  readonly owes: () => boolean;
  /** Asks for a word: long work alone may have nothing to say. */
  readonly ask: () => void;
  readonly onSilent: () => void;
}

/** It looks only while something is owed. A late look finds what the thread has said meanwhile at the next one. */
export class SilenceWatch {
  readonly #parts: SilenceWatchParts;
  #timer: NodeJS.Timeout | undefined;
  #heard = true;
  #looks = 0;

  constructor(parts: SilenceWatchParts) {
    this.#parts = parts;
  }

  /** Something is owed from now on. */
  begin(): void {
    if (this.#timer !== undefined) return;
    this.#heard = true;
    this.#timer = setInterval(() => this.#look(), this.#parts.limitMs / 2).unref();
  }

  /** The thread has said something. */
  hear(): void {
    this.#heard = true;
  }

  end(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #look(): void {
    if (!this.#parts.owes()) {
      this.end();
    } else if (this.#heard) {
      this.#heard = false;
      this.#looks = 0;
      this.#parts.ask();
    } else if ((this.#looks += 1) >= 2) {
      this.end();
      this.#parts.onSilent();
    }
  }
}
