// What a claim is: figures of ours beside those of somebody else, taken in the same run.

import type { Bench } from './workplace.ts';

/** More is better (work per second) or less is better (time); a ratio always says how many times better we are. */
export type Better = 'more' | 'less';

/** One line of the report: a job done by us and by a peer, in turns. */
export interface Comparison {
  readonly name: string;
  /** The command or request of each side, for whoever wants to repeat it. */
  readonly peer: string;
  /** Of the figures: `req/s`, `MiB/s`, `s` … */
  readonly unit: string;
  readonly better: Better;
  /** The least ratio that was set as a goal, or undefined when the figure only informs. */
  readonly goal: number | undefined;
  readonly ours: readonly number[];
  readonly theirs: readonly number[];
  /** CPU time of the two servers for one unit of work, in microseconds. */
  readonly cost: { readonly ours: readonly number[]; readonly theirs: readonly number[] } | undefined;
}

/** A comparison that this machine cannot make, and why. */
export interface Missing {
  readonly name: string;
  readonly missing: string;
}

export interface Claim {
  readonly name: string;
  readonly measure: (bench: Bench) => AsyncGenerator<Comparison | Missing>;
}
