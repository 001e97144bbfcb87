// Rows of images into records and back: the wall between SQL's words and ours.

import { assert, present } from '../base/assert.ts';
import type { FileIdentity } from '../base/file-identity.ts';
import type { ImageFacts, ImageRecord, ImageState, StructuralOperation } from './catalog.ts';

/** One image with its facts, its backing image's name, its labels as a JSON object and its dependents counted. */
export interface ImageRow {
  readonly id: string;
  readonly name: string;
  readonly description: string;
  readonly protected: number;
  readonly state: string;
  readonly state_reason: string | null;
  readonly backing_id: string | null;
  readonly backing_name: string | null;
  readonly next_backing_id: string | null;
  readonly dependent_count: number;
  readonly labels: string;
  readonly version: number;
  readonly generation: number;
  readonly generation_ceiling: number;
  readonly settled: number;
  readonly snapshot_id_ceiling: number;
  readonly structural: string | null;
  readonly identity: string | null;
  readonly created_at_ms: number;
  readonly updated_at_ms: number;
  readonly virtual_size: number | null;
  readonly file_size: number | null;
  readonly allocated_size: number | null;
  readonly cluster_size: number | null;
  readonly compat: string | null;
  readonly refcount_bits: number | null;
  readonly compression_type: string | null;
  readonly extended_l2: number | null;
  readonly lazy_refcounts: number | null;
  readonly encrypted: number | null;
  readonly dirty: number | null;
  readonly corrupt: number | null;
  readonly snapshot_count: number | null;
  readonly bitmap_count: number | null;
}

/** Everything that makes an {@link ImageRow}; `WHERE` and `ORDER BY` follow it. */
export const selectImages = `
  SELECT images.*, image_facts.*,
    backing.name AS backing_name,
    (SELECT count(*) FROM images AS overlays WHERE overlays.backing_id = images.id
      OR overlays.next_backing_id = images.id) AS dependent_count,
    (SELECT json_group_object(key, value) FROM (SELECT key, value FROM image_labels WHERE image_id = images.id ORDER BY key)) AS labels
  FROM images
  LEFT JOIN image_facts ON image_facts.image_id = images.id
  LEFT JOIN images AS backing ON backing.id = images.backing_id`;

/** The image with an id and all images below it, top first. */
export const selectChain = `WITH RECURSIVE chain (id, depth) AS (
   SELECT ?, 0
   UNION ALL
   SELECT images.backing_id, depth + 1 FROM chain JOIN images ON images.id = chain.id
   WHERE images.backing_id IS NOT NULL
 )
 ${selectImages} JOIN chain ON chain.id = images.id ORDER BY chain.depth`;

export function toImageRecord(row: ImageRow): ImageRecord {
  return {
    id: row.id,
    name: row.name,
    description: row.description,
    labels: toLabels(row.labels),
    protected: row.protected === 1,
    state: oneOf<ImageState>(imageStates, row.state),
    stateReason: row.state_reason ?? undefined,
    facts: row.virtual_size === null ? undefined : toFacts(row),
    backing: toBacking(row),
    nextBackingId: row.next_backing_id ?? undefined,
    dependentCount: row.dependent_count,
    generation: row.generation,
    version: row.version,
    createdAtMs: row.created_at_ms,
    updatedAtMs: row.updated_at_ms,
    settled: row.settled === 1,
    generationCeiling: row.generation_ceiling,
    snapshotIdCeiling: row.snapshot_id_ceiling,
    structural: row.structural === null ? undefined : oneOf(structuralOperations, row.structural),
    identity: row.identity === null ? undefined : (row.identity as FileIdentity),
  };
}

/** The facts under the names of their columns. */
export function toFactsRow(imageId: string, facts: ImageFacts): Readonly<Record<string, string | number>> {
  return {
    image_id: imageId,
    virtual_size: facts.virtualSize,
    file_size: facts.fileSize,
    allocated_size: facts.allocatedSize,
    cluster_size: facts.clusterSize,
    compat: facts.compat,
    refcount_bits: facts.refcountBits,
    compression_type: facts.compressionType,
    extended_l2: Number(facts.extendedL2),
    lazy_refcounts: Number(facts.lazyRefcounts),
    encrypted: Number(facts.encrypted),
    dirty: Number(facts.dirty),
    corrupt: Number(facts.corrupt),
    snapshot_count: facts.snapshotCount,
    bitmap_count: facts.bitmapCount,
  };
}

const imageStates: readonly ImageState[] = ['creating', 'importing', 'ready', 'detached', 'failed', 'deleting'];

const structuralOperations: readonly StructuralOperation[] = [
  'resize',
  'repair',
  'empty',
  'amend',
  'rebase',
  'commit',
  'compact',
  'snapshot-create',
  'snapshot-delete',
  'snapshot-revert',
  'vm-state-write',
];

function toFacts(row: ImageRow): ImageFacts {
  return {
    virtualSize: stored(row.virtual_size),
    fileSize: stored(row.file_size),
    allocatedSize: stored(row.allocated_size),
    clusterSize: stored(row.cluster_size),
    compat: oneOf(['0.10', '1.1'], stored(row.compat)),
    refcountBits: stored(row.refcount_bits),
    compressionType: oneOf(['zlib', 'zstd'], stored(row.compression_type)),
    extendedL2: stored(row.extended_l2) === 1,
    lazyRefcounts: stored(row.lazy_refcounts) === 1,
    encrypted: stored(row.encrypted) === 1,
    dirty: stored(row.dirty) === 1,
    corrupt: stored(row.corrupt) === 1,
    snapshotCount: stored(row.snapshot_count),
    bitmapCount: stored(row.bitmap_count),
  };
}

function toBacking(row: ImageRow): ImageRecord['backing'] {
  if (row.backing_id === null) return undefined;
  return { id: row.backing_id, name: present(row.backing_name, 'a backing image has a row') };
}

function toLabels(json: string): Record<string, string> {
  const value: unknown = JSON.parse(json);
  assert(typeof value === 'object' && value !== null, 'labels are an object');
  return Object.fromEntries(
    Object.entries(value).map(([key, text]: [string, unknown]) => {
      assert(typeof text === 'string', 'a label is text');
      return [key, text];
    }),
  );
}

function stored<Value>(value: Value | null): Value {
  return present(value, 'facts are stored whole');
}

function oneOf<Word extends string>(words: readonly Word[], text: string): Word {
  return present(
    words.find((word) => word === text),
    `the catalog holds known words only, not ${text}`,
  );
}

/** Whether clients see a new version of the metadata: sizes of the file alone are none. */
export function changesMetadata(before: ImageFacts | undefined, after: ImageFacts): boolean {
  if (before === undefined) return true;
  const seen = (facts: ImageFacts): string => JSON.stringify({ ...facts, fileSize: 0, allocatedSize: 0 });
  return seen(before) !== seen(after);
}
