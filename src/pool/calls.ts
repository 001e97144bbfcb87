// What each call does to an open image, as one table. A new call is a new row.

import { hash } from 'node:crypto';

import { assert } from '../base/assert.ts';
import { endOf } from '../base/byte-span.ts';
import type { ByteSpan } from '../base/byte-span.ts';
import { Fault } from '../base/fault.ts';
import { releaseBytes } from '../base/spent-bytes.ts';
import type { EngineImage } from './engine.ts';
import { requireSnapshot } from './export-plans.ts';
import type { CallBody, PlainCallName } from './messages.ts';
import type { OpenImage } from './open-image.ts';
import { snapshotsPerPageMax } from './protocol.ts';
import type { DigestedBytes, EngineCalls, ExpectedGeneration } from './protocol.ts';

type GuestOffset = Parameters<EngineImage['read']>[0];

interface CallRow<Name extends PlainCallName> {
  /** Whether it only reads: a run may let it in between its steps. */
  readonly reads: boolean;
  /** Whatever reads bytes may have a buffer to read them into. */
  perform(
    image: OpenImage,
    args: EngineCalls[Name]['args'],
    into: ArrayBuffer | undefined,
  ): EngineCalls[Name]['result'];
}

const calls: { readonly [Name in PlainCallName]: CallRow<Name> } = {
  read: {
    reads: true,
    perform: (image, { offset, length, digest }, into) => {
      const bytes = targetOf(length, into);
      image.file.read(guestOffsetOf(image, { offset, length }), bytes);
      return { ...summed(bytes, digest), generation: image.generation };
    },
  },
  readSnapshot: {
    reads: true,
    perform: (image, { snapshot, offset, length, digest }, into) => {
      const bytes = targetOf(length, into);
      image.file.readSnapshot(snapshot, offset as GuestOffset, bytes);
      return summed(bytes, digest);
    },
  },
  vmState: {
    reads: true,
    perform: (image, { snapshot }) => ({
      length: requireSnapshot(image.file, snapshot).vmStateSize,
      generation: image.vmStateGeneration,
    }),
  },
  readVmState: {
    reads: true,
    perform: (image, { snapshot, offset, length }, into) => {
      const bytes = targetOf(length, into);
      image.file.readVmState(snapshot, offset, bytes);
      return { bytes, generation: image.vmStateGeneration };
    },
  },
  write: {
    reads: false,
    perform: (image, { offset, bytes, detectZeroes, expected }) => {
      if (expected !== undefined) requireExpected(image, expected);
      const at = guestOffsetOf(image, { offset, length: bytes.length });
      image.raise();
      image.file.write(at, bytes, { detectZeroes });
      releaseBytes(bytes);
      return { generation: image.generation };
    },
  },
  changeKeySlots: {
    reads: false,
    perform: (image, { plan }) => {
      image.file.changeKeySlots(plan);
      return {};
    },
  },
  flush: {
    reads: false,
    perform: (image) => {
      image.file.flush();
      return { generation: image.generation };
    },
  },
  extents: {
    reads: true,
    perform: (image, { snapshot, ...query }) => {
      if (snapshot === undefined) {
        const page = image.file.extents(query);
        return { ...page, virtualSize: image.file.virtualSize, generation: image.generation };
      }
      const { virtualSize } = requireSnapshot(image.file, snapshot);
      return { ...image.file.snapshotExtents(snapshot, query), virtualSize, generation: image.generation };
    },
  },
  describe: {
    reads: true,
    perform: (image) => ({ ...image.file.describe(), generation: image.generation }),
  },
  inspect: {
    reads: true,
    perform: ({ file }) => file.inspect(),
  },
  setRuntime: {
    reads: false,
    perform: (image, options) => {
      image.setRuntime(options);
      return {};
    },
  },
  snapshots: {
    reads: true,
    perform: ({ file }, page) => {
      assert(page.limit <= snapshotsPerPageMax, 'a page of snapshots is inside its limit');
      return { items: file.snapshots(page), total: file.describe().snapshotCount };
    },
  },
  findSnapshot: {
    reads: true,
    perform: ({ file }, { snapshot }) => ({ found: file.findSnapshot(snapshot) }),
  },
  createBitmap: {
    reads: false,
    perform: (image, wish) => image.file.createBitmap(wish),
  },
  deleteBitmap: {
    reads: false,
    perform: (image, { bitmap }) => {
      image.file.deleteBitmap(bitmap);
      return {};
    },
  },
  clearBitmap: {
    reads: false,
    perform: (image, { bitmap }) => {
      image.file.clearBitmap(bitmap);
      return {};
    },
  },
  enableBitmap: {
    reads: false,
    perform: (image, { bitmap, enabled }) => {
      image.file.setBitmapEnabled(bitmap, enabled);
      return {};
    },
  },
  dirtyExtents: {
    reads: true,
    perform: (image, { bitmap, ...query }) => ({
      ...image.file.dirtyExtents(bitmap, query),
      virtualSize: image.file.virtualSize,
      generation: image.generation,
    }),
  },
  readExport: {
    reads: true,
    perform: (image, { id, offset, length }, into) => {
      const bytes = targetOf(length, into);
      image.plans.read(image.file, { id, offset, target: bytes, generation: image.generation });
      return { bytes };
    },
  },
  closeExport: {
    reads: true,
    perform: (image, { id }) => {
      image.plans.close(id);
      return {};
    },
  },
};

/** Whether the call only reads. */
export function readsOnly(name: PlainCallName): boolean {
  return calls[name].reads;
}

/** Whether the call changes bytes in their places, or makes such changes durable: no metadata is touched. */
export function overwritesOnly(image: OpenImage, call: CallBody): boolean {
  if (!image.isOpen) return false;
  if (call.name === 'flush') return true;
  if (call.name !== 'write') return false;
  const { offset, bytes, detectZeroes } = call.args;
  return !detectZeroes && image.file.overwrites(offset as GuestOffset, bytes.length);
}

/** Does it, on the spot. */
export function performCall<Name extends PlainCallName>(
  image: OpenImage,
  call: CallBody<Name>,
  into: ArrayBuffer | undefined,
): EngineCalls[Name]['result'] {
  return calls[call.name].perform(image, call.args, into);
}

/** Faults `range-not-satisfiable` {size} unless the disk holds the whole span. */
export function guestOffsetOf(image: OpenImage, span: ByteSpan): GuestOffset {
  const size = image.file.virtualSize;
  if (endOf(span) > size) throw new Fault('range-not-satisfiable', { size });
  return span.offset as GuestOffset;
}

/** Judged where the bytes are: nobody else changes the image between this and the change. Fault `precondition-failed`. */
export function requireExpected(
  { generation }: { readonly generation: number },
  { oneOf, noneOf }: ExpectedGeneration,
): void {
  const admitted = (oneOf?.includes(generation) ?? true) && !noneOf.includes(generation);
  if (!admitted) throw new Fault('precondition-failed', { generation });
}

/** With their SHA-256 if that is asked for: this thread has more time to spare than the one that answers requests. */
function summed(bytes: Uint8Array, digest = false): DigestedBytes {
  return digest ? { bytes, sha256: hash('sha256', bytes, 'base64') } : { bytes };
}

function targetOf(length: number, into: ArrayBuffer | undefined): Uint8Array<ArrayBuffer> {
  const bytes = into === undefined ? new Uint8Array(length) : new Uint8Array(into);
  assert(bytes.length === length, 'a buffer to read into is as long as the read');
  return bytes;
}
