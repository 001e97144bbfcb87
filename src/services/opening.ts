// Opens and closes an image: which file, which chain, which generation, and what a crash has left to mend.

import { present } from '../base/assert.ts';
import { Fault } from '../base/fault.ts';
import type { ImageRecord, ImageUpdate } from '../catalog/catalog.ts';
import type { EngineHandle } from '../pool/engine-pool.ts';
import type { BackingSource, DataFileSource, RuntimeOptions, VolumeKeys } from '../pool/protocol.ts';
import { factsOf } from './image-facts.ts';
import { keysOfMade } from './made-things.ts';
import type { ServiceParts } from './service-parts.ts';

/** One opening of an image, from the first handle to the closed file. */
export interface Opening {
  readonly record: ImageRecord;
  /** Ids of the image and of all below it, top first. */
  readonly chain: readonly string[];
  /** Those of them that are encrypted. */
  readonly encrypted: readonly string[];
  readonly handle: EngineHandle;
  readonly writable: boolean;
  /** Whether generations were reserved: then the row is told how it ended. */
  readonly reserved: boolean;
  /** Handles from before the image was opened for writing, in use until it closes. */
  readonly earlier: readonly EngineHandle[];
}

export type OpeningParts = Pick<ServiceParts, 'catalog' | 'directory' | 'pool' | 'clock' | 'report'> & {
  /** How images are run. */
  readonly runtimes: {
    of(imageId: string, clusterSize: number | undefined): RuntimeOptions | undefined;
    forget(imageId: string): void;
  };
};

/**
 * Opens a ready image. What a structural operation may have left half done is mended first, and a file that is not as
 * its row left it is read again and never keeps its generation. Faults `image-not-ready` when the file is gone, and
 * those of the engine.
 */
export async function openImage(
  parts: OpeningParts,
  record: ImageRecord,
  options: {
    readonly changes: boolean;
    readonly earlier: readonly EngineHandle[];
    /** The epoch of the image's leases. */
    readonly epochOf: () => number;
    /** The keys of a chain, as they are now. */
    readonly keysOf: (chain: readonly string[]) => VolumeKeys;
  },
): Promise<Opening> {
  const { catalog, directory, pool } = parts;
  const { id } = record;
  const identity = await directory.identify(id);
  if (identity === undefined) return loseImage(parts, record);

  const known = record.settled && identity === record.identity;
  // What others stand on is sound, if with leaks: it is mended when it is free.
  const mends = record.structural !== undefined && record.dependentCount === 0;
  const writable = options.changes || mends || (!known && mayBeDirty(record));
  const reserved = writable || !known;
  const generation = reserved ? await catalog.reserveGenerations(id, { jump: !known }) : record.generation;
  const dataFile = dataFileOf(parts, id);
  const runtime = parts.runtimes.of(id, record.facts?.clusterSize);
  const request = { imageId: id, path: directory.imagePath(id), writable, dataFile, generation, runtime };
  // An opening is for everybody: it goes on when the one who asked leaves, or nobody would know that the file is open.
  const openOver = (images: readonly ImageRecord[]): Promise<EngineHandle> =>
    pool.open({ ...request, backing: images.map((image) => sourceOf(parts, image)) }, { signal: undefined });
  const { handle, below } = await openOverImages(parts, { record, known }, openOver);
  const isRebased = below.length === 0 && record.backing !== undefined;
  const chain = [id, ...below.map((image) => image.id)];
  try {
    if (record.structural === 'rebase' || isRebased) {
      await catalog.settleBacking(id, { backingId: below[0]?.id, nowMs: parts.clock() });
    }
    const epoch = options.epochOf();
    if (epoch > 0) await handle.fence(epoch);
    const keys = options.keysOf(chain);
    if (keys.size > 0) await handle.useKeys(keys);
    if (mends) await mend(parts, handle, record);
    if (!mends && !known) await settleKeys(parts, handle);
    const asRecorded = known && record.structural === undefined;
    const learned = asRecorded ? record : await learn(parts, handle, record);
    const encrypted = [learned, ...below].filter(({ facts }) => facts?.encrypted === true).map((image) => image.id);
    return { record: learned, chain, encrypted, handle, writable, reserved, earlier: options.earlier };
  } catch (error) {
    handle.release();
    throw error;
  }
}

/**
 * Flushes and closes the file and tells the row what it is now. When that fails the file is let go all the same, and the
 * row goes on saying that its generation is not known.
 */
export async function closeImage(parts: OpeningParts, opening: Opening): Promise<void> {
  const { catalog, directory, pool, clock } = parts;
  const id = opening.record.id;
  let last: Lesson | undefined;
  try {
    if (opening.writable) await opening.handle.call('flush', {}, { signal: undefined });
    if (opening.reserved) last = await ask(opening.handle, opening.record);
  } finally {
    releaseAll(opening);
    await pool.evict(id);
  }
  if (last === undefined) return;
  await catalog.updateImage(id, {
    // Closing an image that was open for writing takes its dirty bit away.
    ...last,
    facts: { ...last.facts, dirty: last.facts.dirty && !opening.writable },
    settled: true,
    identity: await directory.identify(id),
    nowMs: clock(),
  });
}

/** Lets go of the file without asking it anything more: it is lost, or about to be removed. */
export async function abandonImage(parts: OpeningParts, opening: Opening): Promise<void> {
  releaseAll(opening);
  await parts.pool.evict(opening.record.id);
}

/** Refcounts that are written later are behind after a crash: opening for writing recounts them. */
function mayBeDirty({ facts, dependentCount }: ImageRecord): boolean {
  return facts?.lazyRefcounts === true && dependentCount === 0;
}

/** Asks the open file what it is now, and stores it. */
export async function learn(parts: OpeningParts, handle: EngineHandle, record: ImageRecord): Promise<ImageRecord> {
  const lesson = await ask(handle, record);
  const nowMs = parts.clock();
  return parts.catalog.updateImage(handle.imageId, { ...lesson, settled: false, identity: undefined, nowMs });
}

/**
 * Opens an image with the images below it. One whose rebase was cut names the chain of before, or the one of after: then
 * `below` says which. It is empty, too, for one that another program has taken off its base.
 */
async function openOverImages(
  parts: OpeningParts,
  { record, known }: { readonly record: ImageRecord; readonly known: boolean },
  openOver: (images: readonly ImageRecord[]) => Promise<EngineHandle>,
): Promise<{ readonly handle: EngineHandle; readonly below: readonly ImageRecord[] }> {
  const before = await imagesBelow(parts, record);
  const { structural, nextBackingId } = record;
  try {
    const handle = await openOver(before);
    const mayBeRebased = structural === 'rebase' || (!known && before.length > 0);
    const isAsBefore = !mayBeRebased || (await namesBacking(handle));
    return { handle, below: isAsBefore ? before : [] };
  } catch (error) {
    const isRefused = error instanceof Fault && error.code === 'backing-refused';
    if (!isRefused || structural !== 'rebase' || nextBackingId === undefined) throw error;
    const after = await parts.catalog.listChain(nextBackingId);
    return { handle: await openOver(after), below: after };
  }
}

/** A file that is too broken to tell goes on as it was known. */
async function namesBacking(handle: EngineHandle): Promise<boolean> {
  try {
    return (await handle.call('describe', {}, { signal: undefined })).backingFileName !== undefined;
  } catch (error) {
    if (error instanceof Fault && error.kind === 'corrupt') return true;
    throw error;
  }
}

/** The chain below an image, nearest first. */
async function imagesBelow(parts: OpeningParts, record: ImageRecord): Promise<readonly ImageRecord[]> {
  if (record.backing === undefined) return [];
  const [, ...below] = await parts.catalog.listChain(record.id);
  return below;
}

/** An image as the layer below another: its relative file name, as the overlay stores it, and its declared format. */
export function sourceOf(parts: Pick<OpeningParts, 'directory'>, image: ImageRecord): BackingSource {
  requireReady(image);
  const { directory } = parts;
  const dataFile = dataFileOf(parts, image.id);
  return { fileName: directory.fileName(image.id), path: directory.imagePath(image.id), format: 'qcow2', dataFile };
}

/** The only data file that an image may have, whether or not it has one. */
function dataFileOf({ directory }: Pick<OpeningParts, 'directory'>, id: string): DataFileSource {
  return { fileName: directory.dataFileName(id), path: directory.dataPath('images', id) };
}

/** The record of an image that can be used. Faults `image-not-found`, `image-not-ready`; for changes `image-has-dependents`. */
export async function requireUsable(
  parts: Pick<OpeningParts, 'catalog'>,
  id: string,
  use: { readonly changes: boolean },
): Promise<ImageRecord> {
  const record = await parts.catalog.findImage(id);
  if (record === undefined) throw new Fault('image-not-found', { image: id });
  requireReady(record);
  if (!use.changes || record.dependentCount === 0) return record;
  const dependents = await parts.catalog.listDependents(id);
  throw new Fault('image-has-dependents', { imageId: id, name: record.name, dependents });
}

/** What is protected keeps all of its bytes. Faults `image-protected`, `image-not-found`. */
export async function requireUnprotected(catalog: OpeningParts['catalog'], id: string): Promise<void> {
  const record = await catalog.findImage(id);
  if (record === undefined) throw new Fault('image-not-found', { image: id });
  if (record.protected) throw new Fault('image-protected', { imageId: id, name: record.name });
}

function requireReady(image: ImageRecord): void {
  if (image.state === 'ready') return;
  throw notReady(image, image.state);
}

/**
 * The record of a detached image, as one of whose file nothing is known; undefined when the image is attached already.
 * Faults `image-not-found`, `image-not-ready`.
 */
export async function requireDetached(
  parts: Pick<OpeningParts, 'catalog'>,
  id: string,
): Promise<ImageRecord | undefined> {
  const record = await parts.catalog.findImage(id);
  if (record === undefined) throw new Fault('image-not-found', { image: id });
  if (record.state === 'ready') return undefined;
  if (record.state !== 'detached') throw notReady(record, record.state);
  return { ...record, settled: false };
}

export function notReady(image: { readonly id: string; readonly name: string }, state: string): Fault {
  if (state === 'detached') return new Fault('image-detached', { imageId: image.id, name: image.name });
  return new Fault('image-not-ready', { imageId: image.id, name: image.name, state });
}

/** A detached image waits for its file, wherever the other program has put it. */
async function loseImage(parts: OpeningParts, record: ImageRecord): Promise<never> {
  if (record.state === 'detached') {
    const fileName = parts.directory.fileName(record.id);
    throw new Fault('image-detached', { imageId: record.id, name: record.name, fileName });
  }
  await parts.catalog.failImage(record.id, { reason: 'The file of the image is gone', nowMs: parts.clock() });
  throw notReady(record, 'failed');
}

/**
 * Nobody has the image yet: what an interrupted structural operation left is repaired alone. A corrupt image is left to
 * whoever looks at what a check finds in it: nobody changes it before, and their repair mends the rest, too (CHK-17).
 */
async function mend(parts: OpeningParts, handle: EngineHandle, record: ImageRecord): Promise<void> {
  const alone = { signal: undefined, onProgress: undefined };
  const { facts } = await ask(handle, record);
  if (facts.corrupt) return parts.catalog.clearStructural(handle.imageId, []);
  const report = await handle.run('repair', { mode: 'all' }, alone);
  await handle.call('flush', {}, alone);
  await parts.catalog.clearStructural(handle.imageId, await keysOfMade(parts, handle));
  if (report.clean) return;
  const left = `${report.corruptions} corruptions and ${report.checkErrors} check errors remain`;
  parts.report({
    doing: 'mending what a crash has left',
    imageId: handle.imageId,
    error: new Error(`${left}: check the image, and take what is needed out of it`),
  });
}

/** What is there although its request was never answered is that request's, whoever takes it away now. */
async function settleKeys(parts: OpeningParts, handle: EngineHandle): Promise<void> {
  for (const key of await keysOfMade(parts, handle)) await parts.catalog.idempotency.settle(key);
}

/** What an open image tells of itself. */
type Lesson = Pick<ImageUpdate, 'facts' | 'generation' | 'snapshotIdMax'>;

/** An image that is too broken to tell anything can still be checked: it goes on as it was known, and is corrupt. */
async function ask(handle: EngineHandle, record: ImageRecord): Promise<Lesson> {
  try {
    const now = await handle.call('describe', {}, { signal: undefined });
    return { facts: factsOf(now), generation: now.generation, snapshotIdMax: now.snapshotIdMax };
  } catch (error) {
    if (!(error instanceof Fault) || error.kind !== 'corrupt') throw error;
    const facts = present(record.facts, 'an image that is ready has facts');
    const { generation } = handle;
    return { facts: { ...facts, corrupt: true }, generation, snapshotIdMax: record.snapshotIdCeiling };
  }
}

function releaseAll(opening: Opening): void {
  for (const handle of [...opening.earlier, opening.handle]) handle.release();
}
