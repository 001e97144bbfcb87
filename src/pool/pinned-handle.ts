// A handle on a pinned image: judges what callers pass, hands their bytes over, and ends its exports with itself.

import { isMarkedAsUntransferable } from 'node:worker_threads';

import { assert } from '../base/assert.ts';
import type { KeySlotPlan } from '../engine/image.ts';
import type { CallOptions, EngineHandle, RunOptions } from './engine-pool.ts';
import { wipeKeys } from './open-image.ts';
import type { KeySearches } from './key-searches.ts';
import type { CallBody, RequestBody } from './messages.ts';
import type { PinnedImage } from './pinned-image.ts';
import { readLengthMax, writeLengthMax } from './protocol.ts';
import type { CallName, EngineCalls, EngineRuns, KeySlotRequest, RunName, VolumeKeys } from './protocol.ts';
import type { RequestOptions } from './lane.ts';
import type { SpareBuffers } from './spare-buffers.ts';

export interface PinnedHandleParts {
  readonly pin: PinnedImage;
  /** See {@link EngineHandle.lossCount}. */
  readonly countLosses: (imageId: string) => number;
  readonly spares: SpareBuffers;
  readonly searches: KeySearches;
  readonly onRelease: (pin: PinnedImage) => void;
}

export class PinnedHandle implements EngineHandle {
  readonly #pin: PinnedImage;
  readonly #parts: PinnedHandleParts;
  readonly #plans = new Set<number>();
  #released = false;

  constructor(parts: PinnedHandleParts) {
    this.#pin = parts.pin;
    this.#parts = parts;
  }

  get imageId(): string {
    return this.#pin.imageId;
  }

  get virtualSize(): number {
    return this.#pin.virtualSize;
  }

  get generation(): number {
    return this.#pin.generation;
  }

  get lossCount(): number {
    return this.#parts.countLosses(this.#pin.imageId);
  }

  call<Name extends CallName>(
    name: Name,
    args: EngineCalls[Name]['args'],
    options: CallOptions,
  ): Promise<EngineCalls[Name]['result']> {
    assert(!this.#released, 'a handle is used before its release');
    const { signal } = options;
    const asked = { name, args } as AnyCall;
    if (asked.name === 'planExport') {
      const body = { kind: 'plan', image: this.#pin.number, args: asked.args, keys: options.keys } as const;
      this.#pin.plans += 1;
      const plan = this.#request(body, { signal, onProgress: undefined, buffer: undefined, bytes: 0 });
      return this.#keepPlan(plan as Promise<EngineCalls[Name]['result']>);
    }
    if (asked.name === 'closeExport' && this.#plans.delete(asked.args.id)) this.#pin.plans -= 1;
    const { call, into, buffer, bytes } = prepare(asked, this.#parts.spares);
    const { epoch, keys } = options;
    const body = { kind: 'call', image: this.#pin.number, call, into, epoch, keys } as const;
    const asking = options.patient === true ? { ...body, patient: true } : body;
    const answer = this.#request(asking, { signal, onProgress: undefined, buffer, bytes });
    return answer as Promise<EngineCalls[Name]['result']>;
  }

  run<Name extends RunName>(
    name: Name,
    args: EngineRuns[Name]['args'],
    options: RunOptions,
  ): Promise<EngineRuns[Name]['result']> {
    assert(!this.#released, 'a handle is used before its release');
    const run = { name, args } as Extract<RequestBody, { kind: 'run' }>['run'];
    if (run.name === 'zero' || run.name === 'discard') assertSpan(run.args, Number.MAX_SAFE_INTEGER);
    const { signal, onProgress, epoch, keys } = options;
    if (run.name === 'writeCompressed') {
      const own = bytesToWrite(run.args);
      return this.#request(
        { kind: 'run', image: this.#pin.number, run: { ...run, args: { ...run.args, bytes: own } }, epoch, keys },
        { signal, onProgress, buffer: own.buffer, bytes: own.length },
      ) as Promise<EngineRuns[Name]['result']>;
    }
    return this.#request(
      { kind: 'run', image: this.#pin.number, run, epoch, keys },
      { signal, onProgress, buffer: undefined, bytes: 0 },
    ) as Promise<EngineRuns[Name]['result']>;
  }

  async fence(epoch: number): Promise<void> {
    assert(!this.#released, 'a handle is used before its release');
    const body = { kind: 'fence', image: this.#pin.number, epoch } as const;
    await this.#request(body, { signal: undefined, onProgress: undefined, buffer: undefined, bytes: 0 });
  }

  async findVolumeKey(
    passphrase: Uint8Array,
    options: CallOptions & { readonly below?: string | undefined },
  ): Promise<Uint8Array> {
    assert(!this.#released, 'a handle is used before its release');
    const body = { kind: 'findKey', image: this.#pin.number, passphrase, below: options.below } as const;
    const search = async (signal: AbortSignal): Promise<Uint8Array> => {
      const found = await this.#request(body, { signal, onProgress: undefined, buffer: undefined, bytes: 0 });
      return (found as { readonly bytes: Uint8Array }).bytes;
    };
    return this.#parts.searches.find(search, { signal: options.signal, wipe: (key) => key.fill(0) });
  }

  async planKeySlots(request: KeySlotRequest, options: CallOptions): Promise<KeySlotPlan> {
    assert(!this.#released, 'a handle is used before its release');
    const body = { kind: 'planSlots', image: this.#pin.number, request } as const;
    const plan = (signal: AbortSignal): Promise<unknown> =>
      this.#request(body, { signal, onProgress: undefined, buffer: undefined, bytes: 0 });
    const found = await this.#parts.searches.find(plan, { signal: options.signal, wipe: () => undefined });
    return found as KeySlotPlan;
  }

  async useKeys(keys: VolumeKeys): Promise<void> {
    assert(!this.#released, 'a handle is used before its release');
    const body = { kind: 'useKeys', image: this.#pin.number, keys } as const;
    try {
      await this.#request(body, { signal: undefined, onProgress: undefined, buffer: undefined, bytes: 0 });
    } finally {
      wipeKeys(keys);
    }
  }

  release(): void {
    if (this.#released) return;
    this.#released = true;
    for (const id of this.#plans) this.#closePlan(id);
    this.#plans.clear();
    this.#parts.onRelease(this.#pin);
  }

  #request(body: RequestBody, options: RequestOptions): Promise<unknown> {
    return this.#pin.request(body, options);
  }

  async #keepPlan<Result>(answer: Promise<Result>): Promise<Result> {
    const result = await answer.catch((error: unknown) => {
      this.#pin.plans -= 1;
      throw error;
    });
    const { id } = result as EngineCalls['planExport']['result'];
    if (this.#released) {
      this.#closePlan(id);
    } else {
      this.#plans.add(id);
    }
    return result;
  }

  #closePlan(id: number): void {
    this.#pin.plans -= 1;
    const body = {
      kind: 'call',
      image: this.#pin.number,
      call: { name: 'closeExport', args: { id } },
      into: undefined,
      epoch: undefined,
      keys: undefined,
    } as const;
    // A plan that cannot be closed went with its image.
    this.#request(body, { signal: undefined, onProgress: undefined, buffer: undefined, bytes: 0 }).catch(
      () => undefined,
    );
  }
}

type AnyCall = CallBody | { readonly name: 'planExport'; readonly args: EngineCalls['planExport']['args'] };

interface Prepared {
  readonly call: CallBody;
  /** Where a read finds place for its bytes. */
  readonly into: ArrayBuffer | undefined;
  /** What goes over to the thread. */
  readonly buffer: ArrayBuffer | undefined;
  /** What the call brings or asks for. */
  readonly bytes: number;
}

/** Judges a call, and gives it bytes or room for bytes that may be handed over. */
function prepare(call: CallBody, spares: SpareBuffers): Prepared {
  switch (call.name) {
    case 'write': {
      const own = bytesToWrite(call.args);
      const args = { ...call.args, bytes: own };
      return { call: { name: 'write', args }, into: undefined, buffer: own.buffer, bytes: own.length };
    }
    case 'read':
    case 'readSnapshot':
    case 'readExport': {
      assertSpan(call.args, readLengthMax);
      const into = spares.take(call.args.length);
      return { call, into, buffer: into, bytes: call.args.length };
    }
    default:
      return { call, into: undefined, buffer: undefined, bytes: 0 };
  }
}

function bytesToWrite(args: { readonly offset: number; readonly bytes: Uint8Array }): Uint8Array<ArrayBuffer> {
  const { offset, bytes } = args;
  assertSpan({ offset, length: bytes.length }, writeLengthMax);
  return ownBytes(bytes);
}

/** The bytes as they are when they fill a buffer of their own, else a copy. */
function ownBytes(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const { buffer } = bytes;
  const own = buffer instanceof ArrayBuffer && bytes.length === buffer.byteLength && !isMarkedAsUntransferable(buffer);
  return own ? (bytes as Uint8Array<ArrayBuffer>) : new Uint8Array(bytes);
}

function assertSpan(span: { readonly offset: number; readonly length: number }, lengthMax: number): void {
  assert(Number.isSafeInteger(span.offset) && span.offset >= 0, 'an offset is a safe integer, not negative');
  assert(Number.isSafeInteger(span.length) && span.length >= 0, 'a length is a safe integer, not negative');
  assert(span.length <= lengthMax, 'a length is within the limit of its call');
}
