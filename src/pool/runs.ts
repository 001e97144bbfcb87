// What each run does to an open image, and what it lets in between its steps, as one table. A new run is a new row.

import { partOf } from '../engine/image.ts';
import type { Steps } from '../engine/image.ts';
import { guestOffsetOf, requireExpected } from './calls.ts';
import type { Admission } from './gate.ts';
import type { RunBody } from './messages.ts';
import { wipeKeys } from './open-image.ts';
import type { OpenImage } from './open-image.ts';
import type { EngineRuns, RunName } from './protocol.ts';

/** What the gate and the generation make of a run. */
export interface RunRules {
  readonly admits: Admission;
  /** Whether guest data may differ after each of its steps: every step raises the generation before it begins. */
  readonly changes: boolean;
  /** Whether a refusal by its first step leaves everything as it was, so that the generation goes back. */
  readonly refusesFirst: boolean;
}

interface RunRow<Name extends RunName> extends Omit<RunRules, 'refusesFirst'> {
  start(image: OpenImage, args: EngineRuns[Name]['args']): Steps<EngineRuns[Name]['result']>;
}

const runs: { readonly [Name in RunName]: RunRow<Name> } = {
  zero: {
    admits: 'reads',
    changes: true,
    *start(image, { offset, length, unmap }) {
      yield* image.file.zero(guestOffsetOf(image, { offset, length }), length, { unmap });
      return { generation: image.generation };
    },
  },
  writeCompressed: {
    admits: 'reads',
    changes: true,
    *start(image, { offset, bytes, detectZeroes, expected }) {
      // The first step has raised it already.
      if (expected !== undefined) requireExpected({ generation: image.generation - 1 }, expected);
      yield* image.file.writeCompressed(guestOffsetOf(image, { offset, length: bytes.length }), bytes, {
        detectZeroes,
      });
      return { generation: image.generation };
    },
  },
  discard: {
    admits: 'reads',
    changes: true,
    *start(image, { offset, length }) {
      yield* image.file.discard(guestOffsetOf(image, { offset, length }), length);
      return { generation: image.generation };
    },
  },
  resize: {
    admits: 'nothing',
    changes: true,
    *start(image, args) {
      yield* image.file.resize(args);
      return { generation: image.generation };
    },
  },
  commit: {
    admits: 'reads',
    // The guest sees the same all the time.
    changes: false,
    *start(image, { empties, ...wish }) {
      image.plans.forgetFiles();
      try {
        yield* image.file.commit(wish);
      } finally {
        image.plans.forgetFiles();
      }
      image.raise();
      // What follows the copy does not take long beside it.
      const total = image.file.virtualSize;
      if (empties) yield* partOf(image.file.empty(), { from: total, to: total, total });
      return { generation: image.generation };
    },
  },
  rebase: {
    admits: 'reads',
    // The guest sees other bytes at the end, if it does at all.
    changes: false,
    *start(image, { keys, ...wish }) {
      try {
        yield* image.file.rebase(wish);
        image.addKeys(keys);
      } finally {
        wipeKeys(keys);
      }
      image.raise();
      image.plans.forgetFiles();
      return { generation: image.generation };
    },
  },
  empty: {
    admits: 'nothing',
    changes: true,
    *start(image) {
      yield* image.file.empty();
      return { generation: image.generation };
    },
  },
  amend: {
    admits: 'nothing',
    // No byte of the disk changes, but a plan of an export would read through tables that are gone.
    changes: true,
    *start(image, wish) {
      yield* image.file.amend(wish);
      return { generation: image.generation };
    },
  },
  check: {
    admits: 'overwrites',
    changes: false,
    start: (image) => image.file.check(),
  },
  repair: {
    admits: 'nothing',
    changes: true,
    start: (image, { mode }) => image.file.repair(mode),
  },
  compact: {
    admits: 'reads',
    changes: false,
    start: (image, wish) => image.file.compact(wish),
  },
  copy: {
    admits: 'reads',
    changes: false,
    *start(image, { snapshot, ...wish }) {
      return { description: yield* image.file.copyTo({ ...wish, snapshot }), generation: image.generation };
    },
  },
  digest: {
    admits: 'reads',
    changes: false,
    *start(image, { snapshot }) {
      return { digest: yield* image.file.digest(snapshot), generation: image.generation };
    },
  },
  compare: {
    admits: 'reads',
    changes: false,
    start: (image, wish) => image.file.compareWith(wish),
  },
  measure: {
    admits: 'overwrites',
    changes: false,
    start: (image, { snapshot, spec }) => image.file.measure({ snapshot, spec }),
  },
  createSnapshot: {
    admits: 'reads',
    changes: false,
    start: (image, args) => image.file.createSnapshot(args),
  },
  deleteSnapshot: {
    admits: 'reads',
    changes: false,
    *start(image, { snapshot }) {
      yield* image.file.deleteSnapshot(snapshot);
      return {};
    },
  },
  writeVmState: {
    admits: 'reads',
    // What the guest sees stays. The generation tells the VM states of before and after apart.
    changes: true,
    *start(image, { snapshot, path }) {
      yield* image.changingVmState(image.file.writeVmState(snapshot, path));
      return { generation: image.generation };
    },
  },
  revertSnapshot: {
    admits: 'nothing',
    changes: true,
    *start(image, { snapshot }) {
      yield* image.file.revertSnapshot(snapshot);
      return { generation: image.generation };
    },
  },
  listBitmaps: {
    admits: 'reads',
    changes: false,
    start: (image, query) => image.file.bitmaps(query),
  },
  showBitmap: {
    admits: 'reads',
    changes: false,
    start: (image, { bitmap }) => image.file.bitmap(bitmap),
  },
  mergeBitmaps: {
    admits: 'reads',
    changes: false,
    *start(image, { bitmap, from }) {
      yield* image.file.mergeBitmaps(bitmap, from);
      return {};
    },
  },
};

/** What the gate and the generation make of it. */
export function rulesOf(name: RunName): RunRules {
  const { admits, changes } = runs[name];
  // VM states have numbers of their own, which a refusal uses up.
  return { admits, changes, refusesFirst: changes && name !== 'writeVmState' };
}

/** Its steps; nothing is done before the first. */
export function* stepsOf<Name extends RunName>(
  image: OpenImage,
  run: RunBody<Name>,
): Steps<EngineRuns[Name]['result']> {
  return yield* runs[run.name].start(image, run.args);
}
