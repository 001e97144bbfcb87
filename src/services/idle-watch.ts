// Watches that something is not used for a while. Holds up nobody: a process that is done does not wait for it.

/** Restarted at every use; tells when there was none for so long. */
export class IdleWatch {
  readonly #idleMs: number;
  readonly #onIdle: () => void;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: { readonly idleMs: number; readonly onIdle: () => void }) {
    this.#idleMs = options.idleMs;
    this.#onIdle = options.onIdle;
  }

  restart(): void {
    this.#timer ??= setTimeout(this.#onIdle, this.#idleMs).unref();
    this.#timer.refresh();
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}
