// The keys of a thread's images: made and looked for aside, while the thread does other work, and put to use.

import { pbkdf2 } from 'node:crypto';
import { promisify } from 'node:util';

import { present } from '../base/assert.ts';
import { Fault } from '../base/fault.ts';
import { judgeLuksWish, keyCostFor, makeLuks, oldAesKeyOf, slotIterationsFor } from '../engine/image.ts';
import type { KeyNeed, KeySlotPlan, KeySlotWish, NewEncryption, WithKeys } from '../engine/image.ts';
import { failureOf, stackOf } from './failures.ts';
import type { Answer, ImageNumber, RequestBody } from './messages.ts';
import type { OpenImage } from './open-image.ts';
import type { EncryptionRequest, KeySlotRequest } from './protocol.ts';

/** Computes what is needed on a thread of the system's own; what has begun cannot be stopped. */
export type DeriveKey = (need: KeyNeed) => Promise<Uint8Array>;

/** What is asked of the desk. */
export type KeyRequest = Extract<RequestBody, { readonly kind: 'useKeys' | 'findKey' | 'planSlots' | 'makeKey' }>;

const derive = promisify(pbkdf2);

export const deriveAside: DeriveKey = ({ passphrase, salt, iterations, length, hash }) =>
  derive(passphrase, salt, iterations, length, hash);

/** A measurement of PBKDF2 begins with so many rounds, and is good from so many milliseconds on. */
const roundsFirst = 4096;
const measuredMsMin = 20;

/** Nothing here is a matter of the gate: a search looks at the LUKS area once, and new keys count from the next bounded step on. */
export class KeyDesk {
  readonly #deriveKey: DeriveKey;
  readonly #clock: () => number;
  /** Sends at once: nothing else of the thread may be under way. */
  readonly #answer: (answer: Answer) => void;
  /** The requests whose work goes on. */
  readonly #wanted = new Set<number>();

  constructor(parts: {
    readonly deriveKey: DeriveKey;
    readonly clock: () => number;
    readonly answer: (answer: Answer) => void;
  }) {
    this.#deriveKey = parts.deriveKey;
    this.#clock = parts.clock;
    this.#answer = parts.answer;
  }

  async take(body: KeyRequest, id: number, images: ReadonlyMap<ImageNumber, OpenImage>): Promise<void> {
    this.#wanted.add(id);
    try {
      const result = await this.#perform(body, id, images);
      this.#answer(result === undefined ? { kind: 'cancelled', id } : { kind: 'result', id, result });
    } catch (error) {
      this.#fail(id, error);
    } finally {
      this.#wanted.delete(id);
    }
  }

  /** No further computing is begun for it. */
  cancel(id: number): void {
    this.#wanted.delete(id);
  }

  abandon(): void {
    this.#wanted.clear();
  }

  /** The answer; undefined when nobody wants it any more. */
  #perform(
    body: KeyRequest,
    id: number,
    images: ReadonlyMap<ImageNumber, OpenImage>,
  ): object | undefined | Promise<object | undefined> {
    if (body.kind === 'makeKey') return this.#make(body.request, id);
    const image = images.get(body.image);
    if (image === undefined) throw new Fault('image-failed', {});
    if (body.kind === 'findKey') return this.#find(image, body, id);
    if (body.kind === 'planSlots') return this.#planSlots(image, body.request, id);
    image.useKeys(body.keys);
    return {};
  }

  async #find(
    image: OpenImage,
    { passphrase, below }: Extract<KeyRequest, { readonly kind: 'findKey' }>,
    id: number,
  ): Promise<{ readonly bytes: Uint8Array } | undefined> {
    try {
      if (!image.isOpen) throw new Fault('image-failed', {});
      const bytes = await this.#work(image.file.findVolumeKey(passphrase, below), id);
      return bytes && { bytes };
    } finally {
      passphrase.fill(0);
    }
  }

  async #planSlots(image: OpenImage, request: KeySlotRequest, id: number): Promise<KeySlotPlan | undefined> {
    const { state, slot, passphrase, newPassphrase, iterTimeMs, chance } = request;
    try {
      const luks = image.file.luksHash();
      if (state === 'inactive') return await this.#work(image.file.planKeySlots({ state, slot, passphrase }), id);
      const roundsPerSecond = await this.#measure(luks.hash);
      const wish: KeySlotWish = {
        state,
        slot,
        passphrase,
        volumeKey: image.key,
        newPassphrase: present(newPassphrase, 'a slot becomes active with a passphrase'),
        iterations: slotIterationsFor(luks, { roundsPerSecond, iterTimeMs }),
        chance,
      };
      return await this.#work(image.file.planKeySlots(wish), id);
    } finally {
      passphrase?.fill(0);
      newPassphrase?.fill(0);
    }
  }

  async #make(request: EncryptionRequest, id: number): Promise<NewEncryption | undefined> {
    const { passphrase } = request;
    try {
      if (request.format === 'aes') return { format: 'aes', volumeKey: oldAesKeyOf(passphrase) };
      const { wish, iterTimeMs, chance } = request;
      judgeLuksWish(wish);
      const roundsPerSecond = await this.#measure(wish.hashAlg);
      const cost = keyCostFor(wish, { roundsPerSecond, iterTimeMs });
      const made = await this.#work(makeLuks(wish, { passphrase, cost, chance }), id);
      return made && { format: 'luks', ...made };
    } finally {
      passphrase.fill(0);
    }
  }

  /** The result of a work; undefined when nobody wants it any more. */
  async #work<Result>(work: WithKeys<Result>, id: number): Promise<Result | undefined> {
    let next = work.next();
    while (next.done !== true) {
      const key = await this.#deriveKey(next.value);
      if (!this.#wanted.has(id)) {
        key.fill(0);
        work.return(undefined as Result);
        return undefined;
      }
      next = work.next(key);
      key.fill(0);
    }
    return next.value;
  }

  /** How many rounds of PBKDF2 this machine does in a second, for one digest. */
  async #measure(hash: string): Promise<number> {
    const nothing = new Uint8Array(1);
    for (let iterations = roundsFirst; ; iterations *= 2) {
      const begunMs = this.#clock();
      await this.#deriveKey({ need: 'key', hash, passphrase: nothing, salt: nothing, iterations, length: 1 });
      const passedMs = this.#clock() - begunMs;
      if (passedMs >= measuredMsMin) return (iterations * 1000) / passedMs;
    }
  }

  /** What fails beside the image leaves it as it is. */
  #fail(id: number, error: unknown): void {
    const isFault = error instanceof Fault;
    if (!isFault) this.#answer({ kind: 'bug', image: undefined, stack: stackOf(error) });
    const { code, context } = isFault ? error : failureOf(error);
    this.#answer({ kind: 'fault', id, code, context });
  }
}
