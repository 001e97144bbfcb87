// A caller inside an image: what it may do there is judged by the leases of the moment, call by call.

import { Fault } from '../base/fault.ts';
import type { ImageRecord } from '../catalog/catalog.ts';
import type { CallOptions, EngineHandle } from '../pool/engine-pool.ts';
import type { CallName, EngineCalls, EngineRuns, RunName, VolumeKeys } from '../pool/protocol.ts';
import { callOptionsOf } from './image-caller.ts';
import type { CallerOptions, ImagePulse, VisitorOptions } from './image-caller.ts';
import type { ImageInUse } from './image-in-use.ts';
import type { ImageKeys } from './image-keys.ts';
import type { HeldLease, LeaseBook, LeaseClaim } from './lease-book.ts';
import type { Opening } from './opening.ts';
import type { Passphrases } from './passphrases.ts';
import type { WorkControl } from './work-control.ts';

/** A caller inside an image. Whoever entered leaves, whatever happens (`using visit = …` does). */
export class Visit implements Disposable {
  readonly imageId: string;
  /** As of the opening of the image. */
  readonly record: ImageRecord;
  readonly #image: ImageInUse;
  readonly #leases: LeaseBook;
  readonly #claim: LeaseClaim | undefined;
  readonly #overlays: boolean;
  #caller: CallerOptions;
  #lease: HeldLease | undefined;
  #inside = true;

  constructor(
    image: ImageInUse,
    options: { readonly record: ImageRecord; readonly visitor: VisitorOptions; readonly leases: LeaseBook },
  ) {
    const { changes, overlays, signal, claim, patience } = options.visitor;
    this.imageId = image.id;
    this.record = options.record;
    this.#image = image;
    this.#leases = options.leases;
    this.#claim = claim;
    this.#overlays = overlays === true;
    this.#caller = { changes, signal, patience };
  }

  /** Judges the caller's claim against the leases of now; a lease that it has is renewed. See {@link LeaseBook.admit}. */
  admit(): void {
    if (this.#isBareReader) return;
    const { changes } = this.#caller;
    const overlays = this.#overlays;
    const { epoch, lease } = this.#leases.admit(this.imageId, this.#claim, { changes, overlays });
    this.#lease = lease;
    if (changes && this.#caller.epoch !== epoch) this.#caller = { ...this.#caller, epoch };
  }

  /**
   * From now on the caller gets at the guest data of the image and of those below it with passphrases of its own, and
   * nobody else does. Faults `wrong-passphrase`; `unsupported-option` for more passphrases than encrypted images.
   */
  async bring(passphrases: Passphrases, keys: ImageKeys): Promise<void> {
    const listed = async ({ encrypted }: Opening): Promise<readonly string[]> => encrypted;
    const encrypted = await this.#image.during(this.#caller, listed, { changes: false });
    const brought = encrypted.map((imageId) => ({ imageId, passphrase: passphrases.take(imageId) }));
    passphrases.requireTaken();
    for (const { imageId, passphrase } of brought) {
      if (passphrase === undefined) break;
      const key = await this.findKey(imageId, passphrase, keys);
      this.use(new Map([[keys.pathOf(imageId), key]]));
    }
  }

  /**
   * The volume key of the image, or of one below it. Faults `wrong-passphrase`, `unsupported-option` for an image that is
   * not encrypted.
   */
  async findKey(imageId: string, passphrase: Uint8Array, keys: ImageKeys): Promise<Uint8Array> {
    const known = keys.known(imageId, passphrase);
    if (known !== undefined) return known;
    const below = imageId === this.imageId ? undefined : keys.pathOf(imageId);
    const key = await this.during((handle, options) => handle.findVolumeKey(passphrase, { ...options, below }));
    keys.remember(imageId, passphrase, key);
    return key;
  }

  /** From now on the caller has these keys, too; they are wiped when it leaves. Of two for one file the earlier counts. */
  use(keys: VolumeKeys): void {
    if (keys.size === 0) return;
    const all = new Map(this.#caller.keys ?? []);
    for (const [path, key] of keys) {
      if (all.has(path)) key.fill(0);
      else all.set(path, key);
    }
    this.#caller = { ...this.#caller, keys: all };
  }

  /** Copies of the caller's own keys. */
  copyKeys(): VolumeKeys {
    return new Map(Array.from(this.#caller.keys ?? [], ([path, key]) => [path, Uint8Array.from(key)]));
  }

  /** Size, generation and losses, as of the last answer of the image's thread. */
  get pulse(): ImagePulse {
    return this.#image.pulse;
  }

  call<Name extends CallName>(name: Name, args: EngineCalls[Name]['args']): Promise<EngineCalls[Name]['result']> {
    if (this.#isBareReader) return this.#image.call(name, args, this.#caller);
    return this.#fenced(() => this.#image.call(name, args, this.#caller));
  }

  /** With a control, whoever watches the work may end the run; what follows it goes on to its end. */
  async run<Name extends RunName>(
    name: Name,
    args: EngineRuns[Name]['args'],
    control?: WorkControl,
  ): Promise<EngineRuns[Name]['result']> {
    return this.#fenced(() =>
      this.#leases.during(this.#lease, () => this.#image.run(name, args, { ...this.#caller, control })),
    );
  }

  /** Does a work that only reads with the handle that the image has now; it may be another one the next time. */
  async during<Result>(work: (handle: EngineHandle, options: CallOptions) => Promise<Result>): Promise<Result> {
    this.admit();
    const { signal, keys, patience } = this.#caller;
    return this.#image.during(
      this.#caller,
      ({ handle }) => work(handle, callOptionsOf({ changes: false, signal, keys, patience })),
      {
        changes: false,
      },
    );
  }

  /** Whether a handle of before is still one of the open image's. */
  holds(handle: EngineHandle): boolean {
    return this.#image.holds(handle);
  }

  /** Does a work with a handle of before, or nothing when the image does not have it any more. */
  async whileOn(handle: EngineHandle, work: () => Promise<unknown>): Promise<void> {
    if (this.#image.answers && this.holds(handle)) await this.during(work);
  }

  /** Makes everything durable that was answered so far. What is not open for writing was flushed when it was closed. */
  async flush(): Promise<void> {
    const { signal, patience } = this.#caller;
    const work = async ({ handle, writable }: Opening): Promise<void> => {
      if (writable) await handle.call('flush', {}, callOptionsOf({ changes: true, signal, patience }));
    };
    await this.#image.during(this.#caller, work, { changes: true });
  }

  /** Asks the open file what it is now, and stores it. */
  async learn(): Promise<ImageRecord> {
    return this.#image.learn(this.#caller);
  }

  /** Repeated leaving is no harm. */
  leave(): void {
    if (!this.#inside) return;
    this.#inside = false;
    for (const key of this.#caller.keys?.values() ?? []) key.fill(0);
    this.#image.leave();
  }

  [Symbol.dispose](): void {
    this.leave();
  }

  /** Whoever changes nothing and shows no lease: no lease has a say in it. */
  get #isBareReader(): boolean {
    return !this.#caller.changes && !this.#overlays && this.#claim === undefined;
  }

  /** A change that the thread refused because the leases changed meanwhile is judged once more: that tells why. */
  async #fenced<Result>(work: () => Promise<Result>): Promise<Result> {
    this.admit();
    try {
      return await work();
    } catch (error) {
      if (error instanceof Fault && error.code === 'fencing-token-stale') this.admit();
      throw error;
    }
  }
}
