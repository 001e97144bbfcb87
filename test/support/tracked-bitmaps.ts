// What bitmaps must tell: every cell that changed for certain while a bitmap recorded, and was not cleared since.

import type { Happening } from './tracked-disk.ts';

/** Something that happened to a bitmap, or was told by it. */
export interface BitmapEvent {
  readonly bitmap: string;
  readonly asked: number;
  readonly answered: number;
  readonly event:
    /** It records from now on. */
    | { readonly kind: 'on' }
    | { readonly kind: 'off' }
    | { readonly kind: 'cleared' }
    /** What it says is dirty, of a disk of so many cells. */
    | { readonly kind: 'told'; readonly dirty: ReadonlySet<number>; readonly cellCount: number };
}

/** What is wrong with what bitmaps told: a sentence, or undefined. */
export function explainBitmaps(events: readonly BitmapEvent[], history: readonly Happening[]): string | undefined {
  for (const look of events) {
    if (look.event.kind !== 'told') continue;
    const { dirty, cellCount } = look.event;
    const own = events.filter(({ bitmap }) => bitmap === look.bitmap);
    for (const change of history) {
      if (change.answered >= look.asked || !isRecorded(own, change, look)) continue;
      for (const cell of changedBy(change)) {
        if (cell >= cellCount || dirty.has(cell) || wasCut(history, { cell, change, look })) continue;
        const times = `${change.asked}…${change.answered}`;
        return `${look.bitmap} told at ${look.asked}…${look.answered} that cell ${cell} is clean, after ${change.what} at ${times}`;
      }
    }
  }
  return undefined;
}

/** Whether the bitmap recorded all the while the change went on, and was not cleared since. */
function isRecorded(own: readonly BitmapEvent[], change: Happening, look: BitmapEvent): boolean {
  const began = own.filter(({ event, answered }) => event.kind === 'on' && answered < change.asked);
  const latest = Math.max(-1, ...began.map(({ asked }) => asked));
  if (latest < 0) return false;
  return !own.some(({ event, asked, answered }) => {
    if (event.kind === 'off') return answered > latest && asked < change.answered;
    return event.kind === 'cleared' && answered > change.asked && asked < look.answered;
  });
}

/** What a bitmap must say of it. Bytes of zero that are written where zeroes are change nothing. */
function changedBy({ action, what }: Happening): readonly number[] {
  if (action.kind === 'discard') return [action.cell];
  if (action.kind !== 'write') return [];
  const cells = action.values.map((value, index) => ({ value, cell: action.from + index }));
  return cells.filter(({ value }) => value !== 0 || what === 'zero').map(({ cell }) => cell);
}

/** Whether the disk may have ended before the cell in between: its bit went with it. */
function wasCut(
  history: readonly Happening[],
  { cell, change, look }: { readonly cell: number; readonly change: Happening; readonly look: BitmapEvent },
): boolean {
  return history.some(
    ({ action, asked, answered }) =>
      action.kind === 'resize' && action.size <= cell && answered > change.asked && asked < look.answered,
  );
}
