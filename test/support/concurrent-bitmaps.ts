// What clients do by chance with the bitmaps of a shared image.

import { ask, count, expectStatus, isRefused } from './shared-image.ts';
import type { Answer, SharedImage } from './shared-image.ts';
import type { Prng } from './prng.ts';
import type { BitmapEvent } from './tracked-bitmaps.ts';

const bitmapsMax = 2;

export async function makeBitmap(image: SharedImage, prng: Prng): Promise<void> {
  if (image.bitmaps.size >= bitmapsMax) return tell(image, prng);
  const bitmap = `b-${(image.lastValue += 1)}`;
  const enabled = prng.chance(80);
  const json = { name: bitmap, granularity: prng.pick([512, 4096, 65_536]), enabled };
  const answer = await ask(image, { method: 'POST', path: '/bitmaps', json });
  expectStatus(answer, [201]);
  if (isRefused(answer)) return;
  count(image, 'make bitmap');
  image.bitmaps.add(bitmap);
  if (enabled) noteEvent(image, answer, bitmap, { kind: 'on' });
}

async function tell(image: SharedImage, prng: Prng): Promise<void> {
  const { stride } = image.layout;
  const bitmap = someBitmap(image, prng);
  if (bitmap === undefined) return;
  const answer = await ask(image, { method: 'GET', path: `/bitmaps/${bitmap}/extents?limit=1000` });
  expectStatus(answer, [200, 404]);
  if (answer.status !== 200) return;
  count(image, 'tell bitmap');
  const page = JSON.parse(answer.body.toString()) as {
    readonly virtualSize: number;
    readonly items: readonly { readonly offset: number; readonly length: number; readonly dirty: boolean }[];
  };
  const dirty = new Set<number>();
  for (const { offset, length, dirty: isDirty } of page.items) {
    if (!isDirty) continue;
    for (let cell = Math.ceil(offset / stride); cell * stride < offset + length; cell += 1) dirty.add(cell);
  }
  noteEvent(image, answer, bitmap, { kind: 'told', dirty, cellCount: page.virtualSize / stride });
}

async function clear(image: SharedImage, prng: Prng): Promise<void> {
  const bitmap = someBitmap(image, prng);
  if (bitmap === undefined) return;
  const answer = await ask(image, { method: 'POST', path: `/bitmaps/${bitmap}/clear` });
  expectStatus(answer, [200, 404]);
  if (answer.status === 404) return;
  noteEvent(image, answer, bitmap, { kind: 'cleared' });
  if (!isRefused(answer)) count(image, 'clear bitmap');
}

async function turnOnOrOff(image: SharedImage, prng: Prng): Promise<void> {
  const bitmap = someBitmap(image, prng);
  if (bitmap === undefined) return;
  const enabled = prng.chance(60);
  const answer = await ask(image, { method: 'PATCH', path: `/bitmaps/${bitmap}`, json: { enabled } });
  expectStatus(answer, [200, 404]);
  if (answer.status === 404) return;
  if (!enabled || !isRefused(answer)) noteEvent(image, answer, bitmap, { kind: enabled ? 'on' : 'off' });
  if (!isRefused(answer)) count(image, 'switch bitmap');
}

/** A bitmap tells more afterwards, never less. */
async function merge(image: SharedImage, prng: Prng): Promise<void> {
  const [bitmap, ...from] = image.bitmaps;
  if (bitmap === undefined || from.length === 0 || prng.chance(20)) return;
  const answer = await ask(image, { method: 'POST', path: `/bitmaps/${bitmap}/merge`, json: { from } });
  expectStatus(answer, [200, 404]);
  if (answer.status === 200) count(image, 'merge bitmaps');
}

async function remove(image: SharedImage, prng: Prng): Promise<void> {
  const bitmap = someBitmap(image, prng);
  if (bitmap === undefined) return;
  image.bitmaps.delete(bitmap);
  const answer = await ask(image, { method: 'DELETE', path: `/bitmaps/${bitmap}` });
  expectStatus(answer, [204]);
  if (!isRefused(answer)) count(image, 'delete bitmap');
}

/** Each as often as it stands here. */
export const bitmapVerbs = [makeBitmap, tell, tell, tell, tell, clear, turnOnOrOff, turnOnOrOff, merge, remove];

function someBitmap({ bitmaps }: SharedImage, prng: Prng): string | undefined {
  return bitmaps.size === 0 ? undefined : prng.pick([...bitmaps]);
}

function noteEvent(image: SharedImage, answer: Answer, bitmap: string, event: BitmapEvent['event']): void {
  const { asked } = answer;
  // What others were in the way of may have happened or not, at any time.
  const answered = isRefused(answer) ? Infinity : answer.answered;
  image.bitmapEvents.push({ bitmap, asked, answered, event });
}
