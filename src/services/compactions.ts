// Images whose files are made smaller.

import type { Compacted } from '../pool/protocol.ts';
import type { ImageAccess } from './image-access.ts';
import type { WorkControl } from './work-control.ts';

export interface CompactOptions {
  /** Whether clusters that hold zeroes only are given up. */
  readonly detectZeroes: boolean;
}

export class Compactions {
  readonly #access: ImageAccess;

  constructor(parts: { readonly access: ImageAccess }) {
    this.#access = parts.access;
  }

  /** What the guest sees stays. Changes wait until it is done. Fault `image-has-dependents`. */
  async compact(image: string, options: CompactOptions, control?: WorkControl): Promise<Compacted> {
    const { detectZeroes } = options;
    return this.#access.restructure(
      image,
      'compact',
      (visit, marked) => marked(() => visit.run('compact', { detectZeroes }, control)),
      control,
    );
  }
}
