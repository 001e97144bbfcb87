// Pages of lists that reach to the end of the disk, whose size may change while they are asked for.

import { Fault } from '../base/fault.ts';

/** Asks for a page until it is of the very size that it was asked at. */
export async function pageOfSize<Page extends { readonly virtualSize: number }>(
  sizeNow: () => number,
  ask: (size: number) => Promise<Page>,
): Promise<Page> {
  for (;;) {
    const size = sizeNow();
    try {
      const page = await ask(size);
      if (page.virtualSize === size) return page;
    } catch (error) {
      const isOutside = error instanceof Fault && error.code === 'range-not-satisfiable';
      if (!isOutside || sizeNow() === size) throw error;
    }
  }
}
