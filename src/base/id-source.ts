// New ids that sort by creation: a prefix and a UUIDv7 (RFC 9562 §5.7).

import { assert, present } from './assert.ts';

/** What ids are made of. */
export interface IdIngredients {
  /** Milliseconds since 1970. */
  readonly clock: () => number;
  /** So many random bytes. */
  readonly entropy: (length: number) => Uint8Array;
}

/** Ids of one source sort in the order in which they were made, also within a millisecond and when the clock steps back. */
export class IdSource {
  readonly #clock: () => number;
  readonly #entropy: (length: number) => Uint8Array;
  #lastMs = 0;
  #sequence = 0;

  constructor(ingredients: IdIngredients) {
    this.#clock = ingredients.clock;
    this.#entropy = ingredients.entropy;
  }

  /** `<prefix>_<uuid>`, lower case. */
  next(prefix: string): string {
    const now = Math.floor(this.#clock());
    assert(now >= 0 && now < timeMax, 'the time fits in 48 bits');
    this.#sequence += 1;
    if (now > this.#lastMs || this.#sequence > sequenceMax) {
      this.#lastMs = Math.max(now, this.#lastMs + 1);
      this.#sequence = 0;
    }
    return `${prefix}_${printUuid({ timeMs: this.#lastMs, sequence: this.#sequence, random: this.#entropy(randomLength) })}`;
  }
}

const timeMax = 2 ** 48;
const randomLength = 8;
/** The 12 bits beside the version count ids within one millisecond. */
const sequenceMax = 0xfff;

function printUuid(parts: { readonly timeMs: number; readonly sequence: number; readonly random: Uint8Array }): string {
  assert(parts.random.length === randomLength, 'as much entropy arrives as was asked for');
  const time = parts.timeMs.toString(16).padStart(12, '0');
  const sequence = parts.sequence.toString(16).padStart(3, '0');
  const tail = Uint8Array.from(parts.random);
  const variantBits = 0x80;
  tail[0] = (present(tail[0], 'there is a first random byte') & 0x3f) | variantBits;
  const random = Array.from(tail, (byte) => byte.toString(16).padStart(2, '0')).join('');
  return `${time.slice(0, 8)}-${time.slice(8)}-7${sequence}-${random.slice(0, 4)}-${random.slice(4)}`;
}
