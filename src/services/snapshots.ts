// Internal snapshots: taken, listed, deleted, and reverted to.

import { Fault } from '../base/fault.ts';
import type { SnapshotDescription } from '../pool/protocol.ts';
import type { ImageAccess } from './image-access.ts';
import type { Image } from './image-facts.ts';
import type { ServiceParts } from './service-parts.ts';
import { findSnapshot } from './snapshot-lookup.ts';
import type { Marked } from './structural-mark.ts';
import type { WorkControl } from './work-control.ts';
import type { Visit } from './visit.ts';

/** Which page of the snapshots. */
export interface SnapshotListQuery {
  /** At most {@link snapshotsPerPageMax}. */
  readonly limit: number;
  /** Where the page before ended; undefined for the first page. */
  readonly after: SnapshotPosition | undefined;
}

/** The end of a page: how many snapshots came before the next one, and the id of the last of them if it matters. */
export interface SnapshotPosition {
  readonly next: number;
  readonly lastId: string | undefined;
}

/** A page of snapshots; `next`: how many come before the next page, undefined on the last one. */
export interface SnapshotList {
  readonly items: readonly SnapshotDescription[];
  readonly next: number | undefined;
}

/** `snapshot` is the id in the file or a name, the id first; without such a snapshot verbs fault `snapshot-not-found`. */
export class Snapshots {
  readonly #access: ImageAccess;
  readonly #clock: () => number;

  constructor(parts: Pick<ServiceParts, 'clock'> & { readonly access: ImageAccess }) {
    this.#access = parts.access;
    this.#clock = parts.clock;
  }

  /** `name`: 1 to 255 bytes of UTF-8, not digits only (`invalid-request`), not taken (`name-conflict`). */
  async create(image: string, options: { readonly name: string }, control?: WorkControl): Promise<SnapshotDescription> {
    const { name } = options;
    requireSnapshotName(name);
    const work = async (visit: Visit, marked: Marked): Promise<SnapshotDescription> => {
      const { found } = await visit.call('findSnapshot', { snapshot: name });
      if (found !== undefined) throw new Fault('name-conflict', { name, snapshotId: found.snapshot.id });
      // An id never comes back, not even that of a snapshot that was deleted.
      const { snapshotIdCeiling } = await this.#access.find(visit.imageId);
      const { snapshotIdMax } = await visit.call('describe', {});
      const idFloor = Math.max(snapshotIdCeiling, snapshotIdMax) + 1;
      await control?.note({ imageId: visit.imageId, snapshotId: String(idFloor), snapshotName: name });
      return marked(() => visit.run('createSnapshot', { name, idFloor, ...splitTime(this.#clock()) }, control));
    };
    return this.#access.restructure(image, 'snapshot-create', work, control);
  }

  /** In the order of the file; undefined when the snapshot at which the page before ended is gone. */
  async list(image: string, query: SnapshotListQuery): Promise<SnapshotList | undefined> {
    return this.#access.use(image, { changes: false }, async (visit) => {
      const from = query.after === undefined ? 0 : await positionAfter(visit, query.after);
      if (from === undefined) return undefined;
      const { items, total } = await visit.call('snapshots', { from, limit: query.limit });
      return { items, next: from + items.length < total ? from + items.length : undefined };
    });
  }

  async get(image: string, snapshot: string): Promise<SnapshotDescription> {
    return this.#access.use(image, { changes: false }, (visit) => findSnapshot(visit, snapshot));
  }

  async delete(image: string, snapshot: string, control?: WorkControl): Promise<undefined> {
    const work = async (visit: Visit, marked: Marked): Promise<undefined> => {
      const { id } = await findSnapshot(visit, snapshot);
      await control?.note({ snapshotId: id });
      await marked(() => visit.run('deleteSnapshot', { snapshot: id }, control));
    };
    return this.#access.restructure(image, 'snapshot-delete', work, control);
  }

  async revert(image: string, snapshot: string, control?: WorkControl): Promise<Image> {
    const work = async (visit: Visit, marked: Marked): Promise<Image> => {
      const { id } = await findSnapshot(visit, snapshot);
      await control?.note({ snapshotId: id });
      await marked(() => visit.run('revertSnapshot', { snapshot: id }, control));
      return this.#access.live(await this.#access.find(visit.imageId));
    };
    return this.#access.restructure(image, 'snapshot-revert', work, control);
  }
}

/** Foreign files repeat ids, so the place counts as long as the id is there; else the id alone. */
async function positionAfter(visit: Visit, { next, lastId }: SnapshotPosition): Promise<number | undefined> {
  if (lastId === undefined) return next;
  const { items } = await visit.call('snapshots', { from: next - 1, limit: 1 });
  if (items[0]?.id === lastId) return next;
  const { found } = await visit.call('findSnapshot', { snapshot: lastId });
  return found?.snapshot.id === lastId ? found.index + 1 : undefined;
}

/** In bytes of UTF-8, as the format counts; qemu-img takes no longer ones. */
const nameLengthMax = 255;

function requireSnapshotName(name: string): void {
  const length = Buffer.byteLength(name, 'utf8');
  const problem =
    (length < 1 && 'a snapshot needs a name') ||
    (length > nameLengthMax && `a name has at most ${nameLengthMax} bytes in UTF-8`) ||
    (/^\d+$/.test(name) && 'a name of digits only would be an id: add a letter') ||
    ((!name.isWellFormed() || name.includes('\0')) && 'a name is well-formed text without NUL');
  if (problem === false) return;
  throw new Fault('invalid-request', { errors: [{ pointer: '/name', message: problem }] });
}

function splitTime(nowMs: number): { readonly seconds: number; readonly nanoseconds: number } {
  const ms = Math.floor(nowMs);
  return { seconds: Math.floor(ms / 1000), nanoseconds: (ms % 1000) * 1_000_000 };
}
