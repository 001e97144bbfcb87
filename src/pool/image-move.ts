// An open image goes from one engine thread to another, and whoever uses it notices nothing.
//
//   new thread    guard ┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄ open ─ unguard
//   old thread           settle ─ close ╯
//   requests     ──────▶ held                  ──────▶ in their order
//
// The guard holds QEMU's locks beside those of the old thread, so that no other program finds the file free in between.
// What was answered is on the disk before the old thread lets go: a move loses no writes. What fails before the old thread
// has closed the file leaves the image there; what fails later brings it back there; and where that fails too the image is
// lost as with a thread that has died, and opened anew by whoever asks next.

import { present } from '../base/assert.ts';
import { Fault } from '../base/fault.ts';
import type { HandOver } from './hand-over.ts';
import type { Lane } from './lane.ts';
import type { PoolLimits } from './limits.ts';
import type { RequestBody } from './messages.ts';
import type { PinnedImage } from './pinned-image.ts';

export interface MoveOptions {
  readonly to: Lane;
  readonly limits: PoolLimits;
  /** The image is not open any more. */
  readonly lose: (failure: Fault) => void;
}

/**
 * Moves an image that {@link PinnedImage.isMovable}; whether it was moved. Faults of the threads: then it stayed, or was
 * lost.
 */
export async function moveImage(pin: PinnedImage, options: MoveOptions): Promise<boolean> {
  const { to, limits, lose } = options;
  const from = pin.lane;
  const image = pin.number;
  const opened = present(pin.openedWith, 'what is moved is open');
  const request = { ...opened, writable: pin.writable };
  await ask(to, { kind: 'guard', image, request });
  try {
    if (!pin.isMovable || pin.failure !== undefined) return false;
    pin.hold(limits);
    const handOver = await leave(pin, lose);
    try {
      await arrive(pin, { from, to, lose, open: (lane) => openOn(lane, { image, request, handOver }) });
    } finally {
      handOver.bytes.fill(0);
    }
    return true;
  } finally {
    pin.letGo();
    // A thread that has ended has no guard left.
    await ask(to, { kind: 'unguard', image }).catch(() => undefined);
  }
}

async function leave(pin: PinnedImage, lose: MoveOptions['lose']): Promise<HandOver> {
  try {
    return (await ask(pin.lane, { kind: 'leave', image: pin.number })) as HandOver;
  } catch (error) {
    if (pin.lossOnTheWay !== undefined) lose(lossAfter(pin.lossOnTheWay));
    throw error;
  }
}

interface Arrival extends Pick<MoveOptions, 'to' | 'lose'> {
  readonly from: Lane;
  readonly open: (lane: Lane) => Promise<unknown>;
}

/** Nothing is left to be written: the file is opened on the new thread, or else on the old one again. */
async function arrive(pin: PinnedImage, { from, to, lose, open }: Arrival): Promise<void> {
  try {
    pin.seatOn(to);
    await open(to);
  } catch (error) {
    if (pin.failure !== undefined) throw error;
    try {
      pin.seatOn(from);
      await open(from);
    } catch (again) {
      lose(lossAfter(again));
    }
    throw error;
  }
}

function openOn(
  lane: Lane,
  {
    handOver,
    ...open
  }: Omit<Extract<RequestBody, { readonly kind: 'open' }>, 'kind'> & { readonly handOver: HandOver },
): Promise<unknown> {
  const bytes = handOver.bytes.slice();
  return ask(lane, { kind: 'open', ...open, handOver: { ...handOver, bytes } }, bytes.buffer);
}

/** Handles learn it as they learn of a thread's end, so that whoever has one opens the image again. */
function lossAfter(error: unknown): Fault {
  if (!(error instanceof Fault)) throw error;
  if (error.code === 'image-failed' || error.code === 'engine-lost') return error;
  const reason = `the image could not be moved to another thread (${error.code})`;
  return new Fault('engine-lost', { reason, diskFailed: error.code === 'io-error' });
}

function ask(lane: Lane, body: RequestBody, buffer?: ArrayBuffer): Promise<unknown> {
  return lane.request(body, { signal: undefined, onProgress: undefined, buffer, bytes: 0 });
}
