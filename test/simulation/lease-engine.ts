// The product's engine, which tells when a change has happened to an image, and whose runs stand still on demand.

import { basename } from 'node:path';

import type { Steps } from '../../src/engine/image.ts';
import type { Engine, EngineImage } from '../../src/pool/engine.ts';
import { houseEngine } from '../support/service-engine.ts';

/** What happens to one image. */
export interface ImageWatch {
  /** Whether runs stand still before their first step. */
  readonly isHeld: () => boolean;
  /** A write or a snapshot is done: by the number that its client gave it. */
  readonly applied: (operation: number) => void;
}

/** The number of a write stands in its first bytes, that of a snapshot in its name. */
export const numberLength = 4;

/** `watchOf` gets the id of an image. */
export function watchedEngine(watchOf: (imageId: string) => ImageWatch | undefined): Engine {
  return {
    ...houseEngine,
    open: (options) => {
      const image = houseEngine.open(options);
      const watch = watchOf(basename(options.path, '.qcow2'));
      return watch === undefined ? image : watched(image, watch);
    },
  };
}

function watched(image: EngineImage, watch: ImageWatch): EngineImage {
  const changed: Partial<EngineImage> = {
    write: (offset, bytes, options) => {
      image.write(offset, bytes, options);
      watch.applied(Buffer.from(bytes.buffer, bytes.byteOffset, numberLength).readUInt32LE(0));
    },
    createSnapshot: (options) =>
      watchedSteps(image.createSnapshot(options), watch, () => watch.applied(Number(options.name.slice(1)))),
    check: () => watchedSteps(image.check(), watch, () => undefined),
  };
  return new Proxy(image, {
    get: (target, name) => {
      const value: unknown = Reflect.get(changed, name) ?? Reflect.get(target, name, target);
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
  });
}

/** Not a generator around it: one goes on behind a `yield*` that was ended while it tidied up. */
function watchedSteps<Result>(steps: Steps<Result>, watch: ImageWatch, onDone: () => void): Steps<Result> {
  let state: 'new' | 'begun' | 'ended' = 'new';
  const changed: Readonly<Record<string | symbol, unknown>> = {
    next: () => {
      if (state === 'new' && watch.isHeld()) return { done: false, value: { done: 0, total: 1 } };
      if (state === 'new') state = 'begun';
      const step = steps.next();
      if (step.done === true && state === 'begun') onDone();
      return step;
    },
    return: (result: Result) => {
      state = 'ended';
      return steps.return(result);
    },
    [Symbol.iterator]: () => proxy,
  };
  const proxy: Steps<Result> = new Proxy(steps, {
    get: (target, name) => {
      const value: unknown = changed[name] ?? Reflect.get(target, name, target);
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
  });
  return proxy;
}
