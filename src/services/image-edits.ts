// What a client says of an image: its name, description, labels and protection, changed as a merge patch.

import { Fault } from '../base/fault.ts';
import type { Catalog, ImageEdit, ImageRecord, Labels } from '../catalog/catalog.ts';
import type { Image } from './image-facts.ts';
import type { ImageAccess } from './image-access.ts';
import type { EditTerms } from './image-caller.ts';

/** RFC 7396: what is undefined stays, null goes back to what a new image has. */
export interface ImageChange {
  readonly name?: string | undefined;
  readonly description?: string | null | undefined;
  /** A label that is null is taken away. */
  readonly labels?: Readonly<Record<string, string | null>> | null | undefined;
  readonly protected?: boolean | null | undefined;
}

export class ImageEdits {
  readonly #catalog: Catalog;
  readonly #access: ImageAccess;
  readonly #clock: () => number;

  constructor(parts: { readonly catalog: Catalog; readonly access: ImageAccess; readonly clock: () => number }) {
    this.#catalog = parts.catalog;
    this.#access = parts.access;
    this.#clock = parts.clock;
  }

  /**
   * In any state but `deleting`. The judge sees the very version that is changed, and may see several. A change that
   * changes nothing leaves the version as it is. Faults what the leases say (see {@link LeaseBook.admit}),
   * `name-conflict`, `invalid-request` for too many labels.
   */
  async apply(image: string, change: ImageChange, { judge, claim }: EditTerms): Promise<Image> {
    for (;;) {
      const before = await this.#access.find(image);
      this.#access.admit(before.id, claim, { changes: true });
      judge(before.version);
      const edit = editOf(before, change, this.#clock());
      if (changesNothing(before, edit)) return this.#access.live(before);
      // Somebody else was faster: their version is judged next.
      const record = await this.#catalog.editImage(before.id, edit);
      if (record === undefined) continue;
      this.#access.renamed(record.id, record.name);
      return this.#access.live(record);
    }
  }
}

/** How many labels an image has. */
const labelsMax = 64;

function editOf(before: ImageRecord, change: ImageChange, nowMs: number): ImageEdit {
  return {
    name: change.name ?? before.name,
    description: change.description === undefined ? before.description : (change.description ?? ''),
    labels: change.labels === undefined ? before.labels : mergeLabels(before.labels, change.labels),
    protected: change.protected === undefined ? before.protected : (change.protected ?? false),
    version: before.version,
    nowMs,
  };
}

function mergeLabels(before: Labels, change: Readonly<Record<string, string | null>> | null): Labels {
  if (change === null) return {};
  const merged = new Map<string, string | null>([...Object.entries(before), ...Object.entries(change)]);
  const labels = [...merged].filter((pair): pair is [string, string] => pair[1] !== null);
  if (labels.length <= labelsMax) return Object.fromEntries(labels);
  const message = `an image has at most ${labelsMax} labels`;
  throw new Fault('invalid-request', { errors: [{ pointer: '/labels', in: 'body', message }] });
}

function changesNothing(before: ImageRecord, edit: ImageEdit): boolean {
  const sameLabels = (one: Labels, other: Labels): boolean =>
    JSON.stringify(Object.entries(one).toSorted()) === JSON.stringify(Object.entries(other).toSorted());
  return (
    before.name === edit.name &&
    before.description === edit.description &&
    before.protected === edit.protected &&
    sameLabels(before.labels, edit.labels)
  );
}
