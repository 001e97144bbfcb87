// Internal snapshots: taken, listed, deleted, and reverted to.

import type { Image } from '../catalog/catalog.ts';
import type { SnapshotDescription } from '../pool/protocol.ts';

/** `snapshot` is the id in the file or a name, the id first; without such a snapshot verbs fault `snapshot-not-found`. */
export declare class Snapshots {
  /** `name`: 1 to 255 bytes of UTF-8, not digits only (`invalid-request`), not taken (`name-conflict`). */
  create(image: string, options: { readonly name: string }): Promise<SnapshotDescription>;
  /** In the order of the file. */
  list(image: string): Promise<readonly SnapshotDescription[]>;
  get(image: string, snapshot: string): Promise<SnapshotDescription>;
  delete(image: string, snapshot: string): Promise<void>;
  revert(image: string, snapshot: string): Promise<Image>;
}
