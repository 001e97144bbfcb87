// Commits an image into one of those below it (OPS-40): what the image, with all layers between, has is copied down.
//
//   layers closed ─ target opened for writing ─ grown to the image's size ─ copies ─ flush ─ layers opened as before
//
// The image itself is not changed, and reads through the very session that writes the target. Whatever of the copies a
// crash leaves, it reads the same: it still has them itself.

import { assert } from '../../base/assert.ts';
import { Fault } from '../../base/fault.ts';
import { alignDown } from '../../base/integers.ts';
import { MiB } from '../../base/units.ts';
import { copyParts } from '../data/copy-parts.ts';
import { layerOver } from '../data/image-layer.ts';
import { read } from '../data/reader.ts';
import { write } from '../data/writer.ts';
import { zero } from '../data/zeroing.ts';
import { failureAfter } from '../file/file-faults.ts';
import type { FileSpan } from '../file/file-span.ts';
import { NodeFile } from '../file/node-file.ts';
import { guestOffset } from '../format/offsets.ts';
import type { GuestOffset } from '../format/offsets.ts';
import type { WriteParts } from '../image-parts.ts';
import type { Layer, LayerExtent } from '../layer/layer.ts';
import type { BackingFile } from '../layer/open-gate.ts';
import { ChainKeys } from './chain-keys.ts';
import { ExtentPace } from './extent-pace.ts';
import { ImageSession } from './image-session.ts';
import { openLayerOver } from './open.ts';
import type { LayerOptions } from './open.ts';
import { resize } from './resize.ts';
import type { OpenChain, SessionFiles } from './session-files.ts';
import type { Progress, Steps } from './steps.ts';

/** Into which layer an image is committed. */
export interface CommitWish {
  /** How far below the image it lies; 1 is the next one. */
  readonly depth: number;
  /** Whether a crash may have left it with something to mend. */
  readonly mend: boolean;
}

/**
 * Afterwards the layer `depth` below the image (1 is the next one) shows what the image shows, durably, and is as large
 * at least. Faults `unsupported-option` for another depth and a raw layer, `snapshots-need-backing`; those
 * of a resize and of writing. Every encrypted layer has its key, and what is copied is encrypted as its new place wants it. Cancelled or faulted, the image reads as before; the target has some of its bytes.
 */
export function* commit(top: ImageSession, { depth, mend }: CommitWish): Steps<void> {
  const chain = judged(top, depth);
  top.flush();
  top.files.closeChain(chain);
  let open: CommitChain | undefined;
  try {
    open = openCommitChain(top.files, chain.files, depth);
    top.standOn(open);
    yield* commitInto(top, open.target, { depth, mend });
  } finally {
    try {
      if (open !== undefined) top.files.closeChain(open);
    } finally {
      openAgain(top, chain.files);
    }
  }
}

/** While the layers cannot be opened, whoever reads through them is told why. */
function openAgain(top: ImageSession, files: readonly BackingFile[]): void {
  let chain: OpenChain;
  try {
    chain = top.files.openChain(files);
  } catch (error) {
    const fail = (): never => {
      throw error;
    };
    const layer = { size: top.header.virtualSize, read: fail, extentAt: fail, close: () => undefined };
    top.standOn({ files, layer, keys: new ChainKeys() });
    throw error;
  }
  top.standOn(chain);
}

/** Copies into a target that is open, and closes it when that fails: what failed first is what is told. */
export function* commitInto(top: ImageSession, target: SessionLayer, { depth, mend }: CommitWish): Steps<void> {
  const { session } = target;
  try {
    if (mend || session.header.isDirty) yield* session.repairWith('all');
    yield* copyDown(top, session, depth);
  } catch (error) {
    throw failureAfter(error, () => {
      // After a broken assertion nothing more is written.
      if (error instanceof Fault) target.close();
      else target.abandon();
    });
  }
}

function judged(top: ImageSession, depth: number): OpenChain {
  const { chain } = top.files;
  const target = chain.files[depth - 1];
  if (target === undefined) throw refusal('the image does not stand on it');
  if (chain.files.slice(0, depth).some(({ format }) => format !== 'qcow2')) throw refusal('it is not a QCOW2 image');
  const { snapshots } = top.parts;
  // They would read from the target what was written after them.
  if (snapshots.count > 0) throw new Fault('snapshots-need-backing', { snapshotCount: snapshots.count });
  return chain;
}

function refusal(reason: string): Fault {
  return new Fault('unsupported-option', { option: 'into', reason });
}

/** A chain whose layer `target` is open for writing. */
interface CommitChain extends OpenChain {
  readonly target: SessionLayer;
}

function openCommitChain(files: SessionFiles, chain: readonly BackingFile[], depth: number): CommitChain {
  const [source, ...below] = chain.slice(depth - 1);
  assert(source !== undefined, 'the target was judged');
  const { path, dataFile } = source;
  const { hostCopies, layerOptions: options } = files;
  const runtime = { cacheCleanSeconds: options.cleaning?.seconds };
  return files.openWith((keys) => {
    const file = NodeFile.open(path, { writable: true, locks: options.locks, hostCopies });
    const kind = { writable: true, hostCopies, chain: below, dataFile, runtime };
    const session = ImageSession.open(file, { ...options, ...kind, within: { keys, depth: depth + 1 } });
    if (session.header.header.encryptionMethod !== 0) keys.join({ depth, path }, session);
    const target = new SessionLayer(session);
    let layer: Layer = target;
    let above = depth;
    for (const between of chain.slice(0, depth - 1).toReversed()) {
      above -= 1;
      layer = openBetween(between, layer, { ...options, keys, depth: above });
    }
    return { files: chain, layer, target };
  });
}

/** When it cannot be opened, what it was to stand on is closed. */
function openBetween(file: BackingFile, layer: Layer, options: LayerOptions): Layer {
  const taken = { is: false };
  try {
    return openLayerOver(file, options, () => {
      taken.is = true;
      return layer;
    });
  } catch (error) {
    if (!taken.is) layer.close();
    throw error;
  }
}

/** An image that is open for writing, as the layer below another one: it may grow, and its tables may move. */
export class SessionLayer implements Layer {
  readonly session: ImageSession;
  #isClosed = false;

  constructor(session: ImageSession) {
    this.session = session;
  }

  get size(): number {
    return this.session.header.virtualSize;
  }

  read(offset: GuestOffset, target: Uint8Array): void {
    this.session.look((parts) => {
      read(parts, offset, target);
    });
  }

  extentAt(offset: GuestOffset, lengthMax: number): LayerExtent {
    return this.session.look((parts) => layerOver(parts, this.size).extentAt(offset, lengthMax));
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.session.close();
  }

  /** Closes it, and writes nothing more. */
  abandon(): void {
    this.#isClosed = true;
    this.session.release();
  }
}

/** How much is copied at once. */
const windowLength = 1 * MiB;

/** Copies what `top` and the layers between have into `target`, which `top` reads through; durable when it ends. */
export function* copyDown(
  top: ImageSession,
  target: ImageSession,
  depth: number,
): Generator<Progress, void, undefined> {
  const total = top.header.virtualSize;
  const sizeBefore = target.header.virtualSize;
  if (total > sizeBefore) {
    const size = { virtualSize: total, allowShrink: false, preallocation: 'off' } as const;
    yield* target.changeInSteps((parts) => resize(parts, size));
  }
  // One for all windows: fresh memory costs more than the copy.
  const buffer = new Uint8Array(windowLength);
  const pace = new ExtentPace();
  for (let at = 0; at < total;) {
    const offset = guestOffset(at);
    const found = top.look((parts) => layerOver(parts, total).extentAt(offset, total - at));
    const isAbove = found.depth < depth;
    const readsZero = found.kind !== 'data' || found.preallocated === true;
    // Behind the old end of the target there is nothing yet that would have to be made zero.
    const isNew = found.kind === 'absent' && at >= sizeBefore;
    if (!isAbove || isNew) {
      at += found.length;
      if (pace.isFullWith(0)) yield { done: at, total };
    } else if (readsZero) {
      const length = found.kind === 'absent' ? Math.min(found.length, sizeBefore - at) : found.length;
      yield* zeroDown(target, { offset: at, length }, total);
      at += length;
    } else {
      const window = buffer.subarray(0, Math.min(found.length, alignDown(at, windowLength) + windowLength - at));
      copyWindow(top, target, { at: offset, window });
      at += window.length;
      if (pace.isFullWith(window.length)) yield { done: at, total };
    }
  }
  target.flush();
}

/** Nothing is read: what is known as zero becomes zero. */
function* zeroDown(
  target: ImageSession,
  span: { readonly offset: number; readonly length: number },
  total: number,
): Generator<Progress, void, undefined> {
  yield* target.changeInSteps(function* (parts: WriteParts) {
    for (const done of zero(parts, span, { unmap: true })) yield { done, total };
  });
}

function copyWindow(
  top: ImageSession,
  target: ImageSession,
  { at: start, window }: { readonly at: GuestOffset; readonly window: Uint8Array },
): void {
  const span = { offset: start, length: window.length };
  const spanAt = (at: GuestOffset, lengthMax: number): FileSpan | undefined =>
    top.look((parts) => layerOver(parts, top.header.virtualSize).spanAt?.(at, lengthMax));
  for (const { at, length, source } of copyParts(target.parts, span, spanAt)) {
    const bytes = window.subarray(at - start, at - start + length);
    if (source === undefined) {
      top.look((parts) => {
        read(parts, at, bytes);
      });
    }
    target.change((parts) => {
      write(parts, at, source ?? bytes);
    });
  }
}
