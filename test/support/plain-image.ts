// What a test's own engine needs not do: keys of an image that is not encrypted, writes during a check.

import { Fault } from '../../src/base/fault.ts';
import type { WithKeys } from '../../src/engine/image.ts';

export class PlainImage {
  // oxlint-disable-next-line require-yield
  *findVolumeKey(): WithKeys<Uint8Array> {
    throw new Fault('unsupported-option', { option: 'passphrase' });
  }

  // oxlint-disable-next-line require-yield
  *planKeySlots(): WithKeys<never> {
    throw new Fault('unsupported-option', { option: 'encryption' });
  }

  luksHash(): never {
    throw new Fault('unsupported-option', { option: 'encryption' });
  }

  changeKeySlots(): void {
    throw new Error('a plain image has no key slots');
  }

  unlock(): void {
    throw new Error('a plain image has no key');
  }

  lock(): void {}

  unlockBelow(): void {}

  /** Nothing passes a check but reads. */
  overwrites(): boolean {
    return false;
  }
}
