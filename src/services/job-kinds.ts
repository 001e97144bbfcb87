// The kinds of jobs, one row each: the unit of their progress, and what becomes of them after a crash.

import { assert } from '../base/assert.ts';
import { Fault } from '../base/fault.ts';
import type { JobKind, JobRecord } from '../catalog/catalog.ts';
import type { CompactOptions, Compactions } from './compactions.ts';
import type { Image } from './image-facts.ts';
import type {
  EngineRuns,
  AmendWish,
  CheckReport,
  Compacted,
  Comparison,
  EngineCalls,
  ExtentItem,
  ImageDescription,
  RepairMode,
  SnapshotDescription,
} from '../pool/protocol.ts';
import { snapshotWithId } from './snapshot-lookup.ts';
import type { Chains, CommitOptions, CompareOptions } from './chains.ts';
import type { ImageAccess } from './image-access.ts';
import type { Images } from './images.ts';
import type { Patience } from './job-patience.ts';
import type { WorkControl } from './work-control.ts';
import type { WriteReceipt } from './write-session.ts';
import type { Visit } from './visit.ts';

/** What each kind leads to. */
export interface JobResults {
  'create': Image;
  'import': Image;
  'copy': Image;
  'compact': Compacted;
  'resize': Image;
  'check': CheckReport;
  'digest': EngineRuns['digest']['result'];
  'compare': Comparison;
  'repair': CheckReport;
  'empty': Image;
  'amend': Image;
  'rebase': Image;
  'commit': Image;
  'flatten': Image;
  'zero': WriteReceipt;
  'discard': WriteReceipt;
  'snapshot-create': SnapshotDescription;
  'snapshot-delete': undefined;
  'snapshot-revert': Image;
}

/** What becomes of a job whose process died. */
export type AfterCrash =
  /** It begins again. */
  | { readonly kind: 'again'; readonly work: (control: WorkControl) => Promise<unknown> }
  /** Its effect is there. */
  | { readonly kind: 'done'; readonly value: unknown }
  /** It is undone, or was never begun; the sentence says what that means. */
  | { readonly kind: 'undone'; readonly outcome: string };

export interface JobKindParts {
  readonly chains: Chains;
  readonly access: ImageAccess;
  readonly images: Images;
  readonly compactions: Compactions;
}

interface JobKindRow {
  readonly unit: 'bytes' | 'clusters';
  afterCrash(job: JobRecord, parts: JobKindParts): Promise<AfterCrash>;
}

export const jobKinds: { readonly [Kind in JobKind]: JobKindRow } = {
  'create': { unit: 'bytes', afterCrash: afterMaking },
  'import': { unit: 'bytes', afterCrash: afterMaking },
  'copy': { unit: 'bytes', afterCrash: afterMaking },
  'resize': {
    unit: 'bytes',
    afterCrash: (job, parts) =>
      look(job, parts, async (visit) => {
        if (visit.pulse.virtualSize !== job.trace.virtualSize) return undone;
        return { kind: 'done', value: await parts.images.show(visit.imageId) };
      }),
  },
  'digest': {
    unit: 'bytes',
    afterCrash: async ({ imageId, options }, { chains }) => {
      const { snapshot } = options as { readonly snapshot?: string };
      if (imageId === undefined) return undone;
      return { kind: 'again', work: (control) => chains.digest(imageId, { snapshot }, control) };
    },
  },
  'compare': {
    unit: 'bytes',
    afterCrash: async ({ imageId, options }, { chains }) => {
      if (imageId === undefined) return undone;
      return { kind: 'again', work: (control) => chains.compare(imageId, options as CompareOptions, control) };
    },
  },
  'check': { unit: 'bytes', afterCrash: async (job, parts) => checkAgain(job, parts, 'none') },
  'repair': { unit: 'bytes', afterCrash: async (job, parts) => checkAgain(job, parts, repairOf(job)) },
  'compact': {
    unit: 'bytes',
    // What was moved stays moved: it has less to do the second time.
    afterCrash: async ({ imageId, options }, { compactions }) => {
      if (imageId === undefined) return undone;
      const wish = options as CompactOptions;
      return { kind: 'again', work: (control) => compactions.compact(imageId, wish, control) };
    },
  },
  'empty': {
    unit: 'clusters',
    afterCrash: (job, parts) =>
      look(job, parts, async (visit) => {
        if (!(await isEmpty(visit))) return undone;
        return { kind: 'done', value: await parts.images.show(visit.imageId) };
      }),
  },
  'amend': {
    unit: 'bytes',
    afterCrash: (job, parts) =>
      look(job, parts, async (visit) => {
        if (!isAmended(await visit.call('describe', {}), job.options as Partial<AmendWish>)) return undone;
        return { kind: 'done', value: await parts.images.show(visit.imageId) };
      }),
  },
  'rebase': {
    unit: 'bytes',
    afterCrash: (job, parts) =>
      look(job, parts, async (visit) => {
        const { backing } = await parts.access.find(visit.imageId);
        const { backingId } = job.trace;
        if (backingId === undefined || (backing?.id ?? null) !== backingId) return undone;
        return { kind: 'done', value: await parts.images.show(visit.imageId) };
      }),
  },
  // What is copied is copied once more, and nobody sees it: the image shows it anyway.
  'commit': {
    unit: 'bytes',
    afterCrash: async ({ imageId, options }, { chains }) => {
      if (imageId === undefined) return undone;
      const wish = options as CommitOptions;
      return { kind: 'again', work: (control) => chains.commit(imageId, wish, control) };
    },
  },
  // What is copied stays copied: it begins where it was, and costs no more than a look at that.
  'flatten': {
    unit: 'bytes',
    afterCrash: async ({ imageId }, { chains }) =>
      imageId === undefined ? undone : { kind: 'again', work: (control) => chains.flatten(imageId, control) },
  },
  // Whoever heard of the crash may have written since; zeroes that come late would destroy that.
  'zero': { unit: 'bytes', afterCrash: async () => partly },
  'discard': { unit: 'bytes', afterCrash: async () => partly },
  'snapshot-create': {
    unit: 'clusters',
    afterCrash: (job, parts) =>
      look(job, parts, async (visit) => {
        const taken = await snapshotOf(job, visit);
        return taken === undefined ? undone : { kind: 'done', value: taken };
      }),
  },
  'snapshot-delete': {
    unit: 'clusters',
    afterCrash: (job, parts) =>
      look(job, parts, async (visit) => {
        const left = await snapshotOf(job, visit);
        return left === undefined ? { kind: 'done', value: undefined } : undone;
      }),
  },
  'snapshot-revert': {
    unit: 'clusters',
    afterCrash: (job, parts) =>
      look(job, parts, async (visit) => {
        const { snapshotId } = job.trace;
        if (snapshotId === undefined || !(await isAt(visit, snapshotId))) return undone;
        return { kind: 'done', value: await parts.images.show(visit.imageId) };
      }),
  },
};

/** The first request waits for what has become of the jobs. */
const endless: Patience = { signal: new AbortController().signal, accepted: () => true };

const undone: AfterCrash = { kind: 'undone', outcome: 'The image is as it was before.' };
const partly: AfterCrash = { kind: 'undone', outcome: 'A part of the span may be done.' };
const nothingMade: AfterCrash = { kind: 'undone', outcome: 'Nothing is left of the new image.' };
const unreadable: AfterCrash = { kind: 'undone', outcome: 'The image cannot be opened: check it.' };

/** A half-made image is gone by now, so one that is there is whole. */
async function afterMaking(job: JobRecord, { images }: JobKindParts): Promise<AfterCrash> {
  const { imageId } = job.trace;
  if (imageId === undefined) return nothingMade;
  try {
    const image = await images.show(imageId);
    return image.state === 'ready' ? { kind: 'done', value: image } : nothingMade;
  } catch (error) {
    if (error instanceof Fault && error.code === 'image-not-found') return nothingMade;
    throw error;
  }
}

/** Opening the image completes or undoes what was under way; then it shows which. */
async function look(
  job: JobRecord,
  { access }: JobKindParts,
  judge: (visit: Visit) => Promise<AfterCrash>,
): Promise<AfterCrash> {
  if (job.imageId === undefined) return undone;
  try {
    return await access.use(job.imageId, { changes: false, patience: endless }, judge);
  } catch (error) {
    if (error instanceof Fault) return unreadable;
    throw error;
  }
}

function checkAgain(job: JobRecord, { images }: JobKindParts, repair: RepairMode): AfterCrash {
  const { imageId } = job;
  if (imageId === undefined) return undone;
  return { kind: 'again', work: (control) => images.check(imageId, { repair }, control) };
}

function repairOf(job: JobRecord): Exclude<RepairMode, 'none'> {
  const { repair } = job.options as { readonly repair: unknown };
  assert(repair === 'leaks' || repair === 'all', 'a repair says what it mends');
  return repair;
}

async function snapshotOf(job: JobRecord, visit: Visit): Promise<SnapshotDescription | undefined> {
  const { snapshotId } = job.trace;
  return snapshotId === undefined ? undefined : await snapshotWithId(visit, snapshotId);
}

/** Whether an image is what was asked for; what was not asked for is whatever it is. */
function isAmended(found: ImageDescription, wish: Partial<AmendWish>): boolean {
  const { compat, refcountBits, lazyRefcounts, dataFileRaw } = wish;
  if (compat !== undefined && compat !== found.compat) return false;
  if (refcountBits !== undefined && refcountBits !== found.refcountBits) return false;
  if (dataFileRaw !== undefined && dataFileRaw !== (found.dataFileRaw ?? false)) return false;
  return lazyRefcounts === undefined || lazyRefcounts === found.lazyRefcounts;
}

/** Whether the image itself has nothing: everything comes from below. */
async function isEmpty(visit: Visit): Promise<boolean> {
  const { virtualSize } = visit.pulse;
  for (let offset = 0; offset < virtualSize;) {
    const span = { offset, length: virtualSize - offset, limit: extentsPerPage };
    const { items, nextOffset } = await visit.call('extents', { ...span, layer: 'top', hostOffsets: false });
    if (items.some(({ kind }) => kind !== 'hole')) return false;
    offset = nextOffset ?? virtualSize;
  }
  return true;
}

type ExtentQuery = EngineCalls['extents']['args'];

const extentsPerPage = 1000;

/** Whether the image and the snapshot are the same clusters: nobody has written since it was reverted to. */
async function isAt(visit: Visit, snapshot: string): Promise<boolean> {
  const target = await snapshotWithId(visit, snapshot);
  const { virtualSize } = visit.pulse;
  if (target?.virtualSize !== virtualSize) return false;
  for (let offset = 0; offset < virtualSize;) {
    const span = { offset, length: virtualSize - offset, limit: extentsPerPage };
    const query: ExtentQuery = { ...span, layer: 'top', hostOffsets: true };
    const live = await visit.call('extents', query);
    const kept = await visit.call('extents', { ...query, snapshot });
    if (JSON.stringify(live.items.map(placeOf)) !== JSON.stringify(kept.items.map(placeOf))) return false;
    offset = live.nextOffset ?? virtualSize;
  }
  return true;
}

function placeOf(item: ExtentItem): readonly unknown[] {
  return [item.offset, item.length, item.kind, item.hostOffset];
}
