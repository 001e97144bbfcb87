// Images as things: made, listed, shown, resized, checked and deleted.

import type { Image, ImageState, Labels } from '../catalog/catalog.ts';
import type { CheckReport, CreateSpec, ImageDescription, RepairMode } from '../pool/protocol.ts';

/** What a new image is to be; sizes in bytes. The caller spells out qemu-img's defaults. */
export interface CreateOptions {
  readonly name: string;
  readonly description: string;
  readonly labels: Labels;
  /** Rounded up to 512. May be left out with `backing`: then the overlay is as large as its base. */
  readonly virtualSize: number | undefined;
  readonly clusterSize: number;
  readonly compat: '0.10' | '1.1';
  readonly refcountBits: number;
  readonly lazyRefcounts: boolean;
  readonly extendedL2: boolean;
  readonly compressionType: 'zlib' | 'zstd';
  readonly preallocation: CreateSpec['preallocation'];
  /** The image below, by id or name. It is immutable from now on, as long as it has dependents. */
  readonly backing: string | undefined;
}

/** Which images to list; every given member must match. */
export interface ListOptions {
  readonly limit: number;
  /** `nextCursor` of the page before: the id of its last image. */
  readonly cursor: string | undefined;
  readonly name: string | undefined;
  readonly state: ImageState | undefined;
  /** The image below, by id or name. */
  readonly backing: string | undefined;
  readonly labels: Labels;
}

export interface ImagePage {
  readonly items: readonly Image[];
  readonly nextCursor: string | undefined;
}

export interface ResizeOptions {
  /** In bytes; rounded up to 512, at least one sector. */
  readonly virtualSize: number;
  readonly allowShrink: boolean;
  readonly preallocation: CreateSpec['preallocation'];
}

/** Everything that an open image tells about itself. */
export interface ImageInfo {
  readonly image: Image;
  /** The name of the image's file in the image folder. */
  readonly fileName: string;
  readonly description: ImageDescription;
}

/** `{image}` is an id or a name everywhere; without such an image every verb faults `image-not-found`. */
export declare class Images {
  /** Faults `name-conflict`, `invalid-geometry`, `unsupported-option`, `chain-too-deep`, `insufficient-storage`. */
  create(options: CreateOptions): Promise<Image>;
  /** Opens no file. */
  list(options: ListOptions): Promise<ImagePage>;
  /** In any state. */
  show(image: string): Promise<Image>;
  /** Readers get some seconds to finish. Faults `image-has-dependents`, `image-in-use` while a run is under way. */
  delete(image: string): Promise<void>;
  /** Faults `shrink-not-allowed`, `snapshots-prevent-resize`, `image-has-dependents`. */
  resize(image: string, options: ResizeOptions): Promise<Image>;
  /** A bad image is a good check with bad news. Only a repair faults `image-has-dependents`. */
  check(image: string, options: { readonly repair: RepairMode }): Promise<CheckReport>;
  info(image: string): Promise<ImageInfo>;
  /** The image and all below it, top first. */
  chain(image: string): Promise<readonly Image[]>;
}
