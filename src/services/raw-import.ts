// Guest bytes that come in: a new image is made and written while they arrive; zeroes are left out.

import { createHash } from 'node:crypto';

import { Fault } from '../base/fault.ts';
import { alignUp } from '../base/integers.ts';
import { releaseBytes } from '../base/spent-bytes.ts';
import { GiB, MiB, PiB, sectorSize } from '../base/units.ts';
import { isZeroes } from '../base/zero-bytes.ts';
import type { EngineHandle } from '../pool/engine-pool.ts';
import type { CreateSpec, DataFileSource, ImageDescription, NewEncryption } from '../pool/protocol.ts';
import { bodyChunks, expectedOf, watched, whileWanted } from './body-chunks.ts';
import type { BodyChunk } from './body-chunks.ts';
import { newDataFile, withNewKey } from './new-file-parts.ts';
import type { EncryptionOptions } from './new-file-parts.ts';
import { generationFirst } from './new-images.ts';
import type { Draft, MadeFile } from './new-images.ts';
import type { StagedFile } from '../store/staged-file.ts';
import type { ServiceParts } from './service-parts.ts';
import { requireDigest, writeChunkLength, writesAtOnceMax } from './write-session.ts';
import { WriteWindow } from './write-window.ts';

/** How the new image is to be laid out. */
export type RawImportFormat = Omit<CreateSpec, 'virtualSize' | 'backing' | 'encryption' | 'dataFile'>;

/** What the new image is to be. */
export interface RawImportWish {
  readonly create: RawImportFormat;
  /** Whether clusters are stored packed. */
  readonly compress: boolean;
  /** Undefined: the image keeps its data itself. */
  readonly dataFile: { readonly raw: boolean } | undefined;
  /** Undefined for a plain image. */
  readonly encryption: EncryptionOptions | undefined;
}

export interface IncomingRaw extends RawImportWish {
  readonly body: AsyncIterable<Uint8Array>;
  readonly bodyLength: number | undefined;
  readonly sha256: Uint8Array | undefined;
  /** Told when the whole body is there. */
  readonly onTaken: () => void;
}

/** How much waits for its tables at most: what lies in them is made durable meanwhile, but only a flush orders them. */
const flushEvery = 256 * MiB;

/** How large an image is at first when nobody says how much comes. */
const sizeFirst = 1 * GiB;

/** Virtual sizes above are refused (the limit of the format's tables). */
const sizeMax = 8 * PiB - sectorSize;

/** Faults `unsupported-option`: what is to be preallocated must be known. */
export function requireKnownSize(create: RawImportFormat, bodyLength: number | undefined): void {
  if (bodyLength !== undefined || create.preallocation === 'off') return;
  throw new Fault('unsupported-option', {
    option: 'preallocation',
    value: create.preallocation,
    reason: 'the size is not known: send a Content-Length, or import without preallocation',
  });
}

/** Fault `unsupported-option`: not every image can have packed clusters. */
export function requirePackable({ create, dataFile, encryption }: RawImportWish): void {
  const refuse = (reason: string): Fault =>
    new Fault('unsupported-option', { option: 'compress', value: true, reason });
  if (create.preallocation !== 'off') throw refuse('compressed clusters have no places that could be made in advance');
  if (encryption !== undefined) throw refuse('compressed clusters are not encrypted');
  if (dataFile !== undefined) throw refuse('compressed clusters cannot lie in a data file');
}

/**
 * Holds a few chunks at a time. An image of unknown size grows by doubling, and is cut at the end. Faults
 * `content-range-mismatch`, `digest-mismatch`, and those of the engine; whoever reserved the image removes its file.
 */
export async function takeRaw(
  parts: Pick<ServiceParts, 'directory' | 'pool' | 'report' | 'entropy'>,
  draft: Draft,
  incoming: IncomingRaw,
): Promise<MadeFile> {
  const wish = { wanted: incoming.encryption, signal: draft.signal };
  return withNewKey(parts, wish, (encryption) => takeInto(parts, { draft, encryption }, incoming));
}

async function takeInto(
  parts: Pick<ServiceParts, 'directory' | 'pool' | 'report'>,
  { draft, encryption }: { readonly draft: Draft; readonly encryption: NewEncryption | undefined },
  incoming: IncomingRaw,
): Promise<MadeFile> {
  const { directory, pool } = parts;
  const { id, path, signal } = draft;
  const dataFile = newDataFile(parts, id, incoming.dataFile);
  const format = { ...incoming.create, backing: undefined, dataFile, encryption };
  const make = async (virtualSize: number): Promise<ImageDescription> => {
    const spec = { ...format, virtualSize: alignUp(virtualSize, sectorSize) };
    return pool.create({ imageId: id, path, spec, backing: [] }, { signal, onProgress: undefined });
  };
  await make(incoming.bodyLength ?? sizeFirst);

  const staged = await directory.openStaged(id, dataFile === undefined ? 'image' : 'data');
  let made: MadeFile | undefined;
  try {
    made = await fillOpened({ parts, draft, staged, dataFile, volumeKey: encryption?.volumeKey }, incoming);
  } finally {
    await staged.close();
  }
  if (made !== undefined) return made;

  // Nothing came: an image cannot be cut down to nothing, but made of it.
  await directory.remove('staging', id);
  return { description: await make(0), generation: generationFirst };
}

/** Opens the new image, fills it and closes it, also when that fails. */
async function fillOpened(
  target: {
    readonly parts: Pick<ServiceParts, 'pool' | 'report'>;
    readonly draft: Draft;
    readonly staged: StagedFile;
    readonly dataFile: DataFileSource | undefined;
    readonly volumeKey: Uint8Array | undefined;
  },
  incoming: IncomingRaw,
): Promise<MadeFile | undefined> {
  const { pool, report } = target.parts;
  const { id, path, signal } = target.draft;
  const { dataFile, volumeKey } = target;
  const request = { imageId: id, path, writable: true, backing: [], dataFile, generation: generationFirst };
  const handle = await pool.open(request, { signal });
  let made: MadeFile | undefined;
  try {
    if (volumeKey !== undefined) await handle.useKeys(new Map([[path, Uint8Array.from(volumeKey)]]));
    made = await fill({ handle, staged: target.staged, signal }, incoming);
  } catch (error) {
    handle.release();
    await pool.evict(id).catch((closing: unknown) => {
      report({ doing: 'closing an image that was not imported', imageId: id, error: closing });
    });
    throw error;
  }
  handle.release();
  await pool.evict(id);
  return made;
}

/** What is filled: through the engine, while its bytes go to the disk. */
interface Filling {
  readonly handle: EngineHandle;
  readonly staged: StagedFile;
  readonly signal: AbortSignal;
}

/** Undefined when nothing came, and nobody had said so. */
async function fill(filling: Filling, incoming: IncomingRaw): Promise<MadeFile | undefined> {
  const { handle, signal } = filling;
  const { lossCount } = handle;
  const { clusterSize, extendedL2 } = incoming.create;
  const hash = createHash('sha256');
  const wanted = whileWanted(expectedOf(incoming), signal);
  const body = incoming.sha256 === undefined ? wanted : watched(wanted, (piece) => hash.update(piece));
  const rule = {
    offset: 0,
    lengthMax: Math.max(writeChunkLength, clusterSize),
    alignment: clusterSize,
    length: incoming.bodyLength,
  };

  const target = new FillTarget(filling, { packs: incoming.compress, clusterSize });
  const unit = extendedL2 && !incoming.compress ? clusterSize / subclusterCount : clusterSize;
  try {
    for await (const chunk of bodyChunks(body, rule)) {
      await target.reach(chunk.offset + chunk.bytes.length);
      let passedOn = false;
      for (const part of withoutZeroes(chunk, unit)) {
        passedOn ||= part === chunk;
        await target.write(part);
      }
      // What was written of it was copied, the rest was zero; a chunk without zeroes is on its way to the thread.
      if (!passedOn) releaseBytes(chunk.bytes);
    }
    incoming.onTaken();
    await target.finish();
  } finally {
    await target.end();
  }
  if (incoming.sha256 !== undefined) requireDigest(hash.digest(), incoming.sha256);
  if (target.length === 0 && incoming.bodyLength === undefined) return undefined;
  if (handle.lossCount !== lossCount) throw new Fault('engine-lost', { imageId: handle.imageId });
  const { generation, ...description } = await handle.call('describe', {}, { signal });
  // The image is closed next, which takes its dirty bit away.
  return { description: { ...description, dirty: false }, generation };
}

/** An image that is filled from front to back, and grows when it has to. */
class FillTarget {
  readonly #handle: EngineHandle;
  readonly #staged: StagedFile;
  readonly #signal: AbortSignal;
  readonly #window = new WriteWindow({ widthMax: writesAtOnceMax });
  #end = 0;
  #unflushed = 0;

  readonly #form: { readonly packs: boolean; readonly clusterSize: number };

  constructor({ handle, staged, signal }: Filling, form: { readonly packs: boolean; readonly clusterSize: number }) {
    this.#form = form;
    this.#handle = handle;
    this.#staged = staged;
    this.#signal = signal;
  }

  /** How much has come. */
  get length(): number {
    return this.#end;
  }

  /** Grows the image to hold everything up to `end`. */
  async reach(end: number): Promise<void> {
    this.#end = end;
    const { virtualSize } = this.#handle;
    if (end <= virtualSize) return;
    await this.#window.finish();
    const needed = alignUp(end, sectorSize);
    try {
      await this.#resize(Math.min(Math.max(needed, 2 * virtualSize), Math.max(needed, sizeMax)));
    } catch (error) {
      // Twice as large may be more than the tables of this cluster size can hold.
      if (!(error instanceof Fault) || error.kind !== 'unprocessable') throw error;
      await this.#resize(needed);
    }
  }

  async write({ offset, bytes }: BodyChunk): Promise<void> {
    const { length } = bytes;
    await this.#window.add(length, () => this.#put(offset, bytes));
    await this.#staged.wrote(length);
    this.#unflushed += length;
    if (this.#unflushed < flushEvery) return;
    this.#unflushed = 0;
    await this.#window.add(0, () => this.#handle.call('flush', {}, { signal: this.#signal }));
  }

  async #put(offset: number, bytes: Uint8Array): Promise<unknown> {
    const signal = this.#signal;
    if (!this.#form.packs) return this.#handle.call('write', { offset, bytes, detectZeroes: false }, { signal });
    const args = { offset, bytes: this.#wholeClusters(offset, bytes), detectZeroes: false };
    return this.#handle.run('writeCompressed', args, { signal, onProgress: undefined });
  }

  /** Only whole clusters are packed, or what the disk has of its last: the rest of the body's last one is zero. */
  #wholeClusters(offset: number, bytes: Uint8Array): Uint8Array {
    const end = Math.min(alignUp(bytes.length, this.#form.clusterSize), this.#handle.virtualSize - offset);
    if (end === bytes.length) return bytes;
    const whole = new Uint8Array(end);
    whole.set(bytes);
    return whole;
  }

  /** Cuts the image to what has come, and makes it durable. */
  async finish(): Promise<void> {
    await this.#window.finish();
    const size = alignUp(this.#end, sectorSize);
    if (size > 0 && size < this.#handle.virtualSize) await this.#resize(size);
    await this.#handle.call('flush', {}, { signal: this.#signal });
  }

  /** Waits for what is under way. */
  async end(): Promise<void> {
    await this.#window.end();
  }

  async #resize(virtualSize: number): Promise<void> {
    const args = { virtualSize, allowShrink: true, preallocation: 'off' } as const;
    await this.#handle.run('resize', args, { signal: this.#signal, onProgress: undefined });
  }
}

/** An extended L2 entry tells zeroes apart down to this part of a cluster. */
const subclusterCount = 32;

/** The runs of units that are not all zero; a chunk without zeroes goes through as it is. */
export function* withoutZeroes(chunk: BodyChunk, unit: number): Generator<BodyChunk> {
  const { offset, bytes } = chunk;
  let start = 0;
  for (let at = 0; at < bytes.length; at += unit) {
    const piece = bytes.subarray(at, at + unit);
    if (!isZeroes(piece)) continue;
    if (at > start) yield { offset: offset + start, bytes: bytes.subarray(start, at) };
    start = at + piece.length;
  }
  if (start === 0) yield chunk;
  else if (start < bytes.length) yield { offset: offset + start, bytes: bytes.subarray(start) };
}
