// Lets the caches of a thread drop what nobody uses, and tells how they do: now and then, since an engine has no clock.

import type { CacheTotals } from '../engine/image.ts';
import type { Engine } from './engine.ts';

export class CacheWatch {
  readonly #timer: NodeJS.Timeout;

  constructor(parts: {
    readonly engine: Engine;
    /** Milliseconds that only grow. */
    readonly clock: () => number;
    readonly everyMs: number;
    /** Told when they are others than before. */
    readonly onTotals: (totals: CacheTotals) => void;
  }) {
    const { engine, clock, everyMs, onTotals } = parts;
    let told: CacheTotals = { length: 0, hits: 0, misses: 0 };
    this.#timer = setInterval(() => {
      const now = engine.tidyCaches(clock());
      if (now.length === told.length && now.hits === told.hits && now.misses === told.misses) return;
      told = now;
      onTotals(now);
    }, everyMs).unref();
  }

  end(): void {
    clearInterval(this.#timer);
  }
}
