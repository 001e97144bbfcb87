// The locks that a thread holds for images that it is about to take over.

import { Fault } from '../base/fault.ts';
import type { FileGuard } from '../engine/image.ts';
import type { Engine } from './engine.ts';
import { failureOf } from './failures.ts';
import type { Answer, ImageNumber, RequestBody } from './messages.ts';

/** What is asked of them. */
export type GuardRequest = Extract<RequestBody, { readonly kind: 'guard' | 'unguard' }>;

export class FileGuards {
  readonly #engine: Engine;
  readonly #guards = new Map<ImageNumber, FileGuard>();

  constructor(engine: Engine) {
    this.#engine = engine;
  }

  /** What fails leaves the image where it is; nothing was written. */
  take(body: GuardRequest, id: number): Answer {
    try {
      this.#perform(body);
      return { kind: 'result', id, result: {} };
    } catch (error) {
      const { code, context } = error instanceof Fault ? error : failureOf(error);
      return { kind: 'fault', id, code, context };
    }
  }

  abandon(): void {
    for (const image of [...this.#guards.keys()]) this.#end(image);
  }

  #perform(body: GuardRequest): void {
    if (body.kind === 'unguard') {
      this.#end(body.image);
      return;
    }
    const { path, writable, backing, dataFile } = body.request;
    this.#guards.set(body.image, this.#engine.guard({ path, writable, backing, dataFile }));
  }

  #end(image: ImageNumber): void {
    const guard = this.#guards.get(image);
    this.#guards.delete(image);
    guard?.close();
  }
}
