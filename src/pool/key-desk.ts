// The keys of a thread's images: looked for aside, while the thread does other work, and put to use.

import { pbkdf2 } from 'node:crypto';
import { promisify } from 'node:util';

import { Fault } from '../base/fault.ts';
import type { KeyNeed, WithKeys } from '../engine/image.ts';
import { failureOf, stackOf } from './failures.ts';
import type { Answer, RequestBody } from './messages.ts';
import type { OpenImage } from './open-image.ts';

/** Computes what is needed on a thread of the system's own; what has begun cannot be stopped. */
export type DeriveKey = (need: KeyNeed) => Promise<Uint8Array>;

const derive = promisify(pbkdf2);

export const deriveAside: DeriveKey = ({ passphrase, salt, iterations, length, hash }) =>
  derive(passphrase, salt, iterations, length, hash);

/** Neither is a matter of the gate: a search looks at the LUKS area once, and new keys count from the next bounded step on. */
export class KeyDesk {
  readonly #deriveKey: DeriveKey;
  /** Sends at once: nothing else of the thread may be under way. */
  readonly #answer: (answer: Answer) => void;
  /** The requests whose search goes on. */
  readonly #wanted = new Set<number>();

  constructor(parts: { readonly deriveKey: DeriveKey; readonly answer: (answer: Answer) => void }) {
    this.#deriveKey = parts.deriveKey;
    this.#answer = parts.answer;
  }

  use(image: OpenImage | undefined, body: Extract<RequestBody, { kind: 'useKeys' }>, id: number): void {
    try {
      if (image === undefined) throw new Fault('image-failed', {});
      image.useKeys(body.keys);
      this.#answer({ kind: 'result', id, result: {} });
    } catch (error) {
      this.#fail(id, error);
    }
  }

  async find(
    image: OpenImage | undefined,
    { passphrase }: Extract<RequestBody, { kind: 'findKey' }>,
    id: number,
  ): Promise<void> {
    this.#wanted.add(id);
    try {
      if (image?.isOpen !== true) throw new Fault('image-failed', {});
      const bytes = await this.#search(image.file.findVolumeKey(passphrase), id);
      this.#answer(bytes === undefined ? { kind: 'cancelled', id } : { kind: 'result', id, result: { bytes } });
    } catch (error) {
      this.#fail(id, error);
    } finally {
      this.#wanted.delete(id);
      passphrase.fill(0);
    }
  }

  /** No further computing is begun for it. */
  cancel(id: number): void {
    this.#wanted.delete(id);
  }

  abandon(): void {
    this.#wanted.clear();
  }

  /** The volume key; undefined when nobody wants it any more. */
  async #search(work: WithKeys<Uint8Array>, id: number): Promise<Uint8Array | undefined> {
    let next = work.next();
    while (next.done !== true) {
      const key = await this.#deriveKey(next.value);
      if (!this.#wanted.has(id)) {
        key.fill(0);
        work.return(key);
        return undefined;
      }
      next = work.next(key);
      key.fill(0);
    }
    return next.value;
  }

  /** What fails beside the image leaves it as it is. */
  #fail(id: number, error: unknown): void {
    const isFault = error instanceof Fault;
    if (!isFault) this.#answer({ kind: 'bug', image: undefined, stack: stackOf(error) });
    const { code, context } = isFault ? error : failureOf(error);
    this.#answer({ kind: 'fault', id, code, context });
  }
}
