// The real routes and services over an engine whose runs stand still until a test lets them go.

import type { Engine, EngineImage } from '../../src/pool/engine.ts';
import { openHouse } from './service-house.ts';
import { houseEngine } from './service-engine.ts';
import { serveHouse } from './served-house.ts';
import type { ServedHouse } from './served-house.ts';

/** Holds runs. */
export interface Brake {
  /** Every run stands still before its first step. */
  held: boolean;
  /** Every run stands still when it has done so many steps. */
  heldAt?: number | undefined;
  /** A run has got there. */
  reached?: boolean;
}

export interface BrakedService extends ServedHouse {
  readonly brake: Brake;
}

/** `path`: a folder that outlives the service. */
export async function startBrakedService(path: string, brake: Brake = { held: false }): Promise<BrakedService> {
  return { ...(await serveHouse(await openHouse({ engine: brakedEngine(brake), path }))), brake };
}

/** The engine of the product, with a brake on every run. */
export function brakedEngine(brake: Brake): Engine {
  return {
    ...houseEngine,
    open: (options) => brakedImage(houseEngine.open(options), brake),
    create: (path, spec) => braked(brake, () => houseEngine.create(path, spec)),
    admit: (options) => braked(brake, () => houseEngine.admit(options)),
  };
}

const runNames: ReadonlySet<string | symbol> = new Set([
  'zero',
  'discard',
  'resize',
  'check',
  'repair',
  'empty',
  'amend',
  'compact',
  'copyTo',
  'rebase',
  'commit',
  'digest',
  'compareWith',
  'createSnapshot',
  'deleteSnapshot',
  'revertSnapshot',
]);

function brakedImage(image: EngineImage, brake: Brake): EngineImage {
  return new Proxy(image, {
    get: (target, name) => {
      const value: unknown = Reflect.get(target, name, target);
      if (typeof value !== 'function') return value;
      const verb = value.bind(target) as (...args: readonly unknown[]) => unknown;
      if (!runNames.has(name)) return verb;
      return (...args: readonly unknown[]) => braked(brake, () => verb(...args) as Steps<unknown>);
    },
  });
}

type Steps<Result> = Generator<{ readonly done: number; readonly total: number }, Result, undefined>;

function* braked<Result>(brake: Brake, begin: () => Steps<Result>): Steps<Result> {
  while (brake.held) yield { done: 1, total: 4 };
  return yield* brake.heldAt === undefined ? begin() : heldOnItsWay(brake, begin());
}

/** While it stands still it says again what it said last. */
function* heldOnItsWay<Result>(brake: Brake, run: Steps<Result>): Steps<Result> {
  let next: ReturnType<typeof run.next> | undefined;
  let last: { readonly done: number; readonly total: number } = { done: 0, total: 1 };
  try {
    for (let steps = 0; next?.done !== true; steps += 1) {
      while (brake.heldAt === steps) {
        brake.reached = true;
        // What the run needs was asked for once.
        yield { done: last.done, total: last.total };
      }
      next = run.next();
      if (next.done === true) break;
      last = next.value;
      yield last;
    }
    return next.value;
  } finally {
    if (next?.done !== true) {
      for (let undone = run.return(undefined as Result); undone.done !== true; undone = run.next()) yield undone.value;
    }
  }
}
