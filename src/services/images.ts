// Images as things: made, listed, shown, resized, checked and deleted.

import { present } from '../base/assert.ts';
import { Fault } from '../base/fault.ts';
import { alignUp } from '../base/integers.ts';
import { sectorSize } from '../base/units.ts';
import type { ImageState, LabelFilter, Labels } from '../catalog/catalog.ts';
import { snapshotsPerPageMax } from '../pool/protocol.ts';
import type {
  AmendWish,
  CheckReport,
  CreateSpec,
  ImageDescription,
  ImageInspection,
  NewEncryption,
  RepairMode,
  SnapshotDescription,
} from '../pool/protocol.ts';
import type { ImageAccess } from './image-access.ts';
import { ImageEdits } from './image-edits.ts';
import type { EditTerms } from './image-caller.ts';
import type { ImageChange } from './image-edits.ts';
import type { Image } from './image-facts.ts';
import type { LeaseClaim } from './lease-book.ts';
import { generationFirst } from './new-images.ts';
import type { NewImages } from './new-images.ts';
import { newDataFile, withNewKey } from './new-file-parts.ts';
import type { EncryptionOptions } from './new-file-parts.ts';
import { requireUnprotected } from './opening.ts';
import type { ServiceParts } from './service-parts.ts';
import { requireSpace } from './storage-faults.ts';
import type { Marked } from './structural-mark.ts';
import type { Usage } from './usage.ts';
import type { WorkControl } from './work-control.ts';
import type { Visit } from './visit.ts';

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
  /** Left out for a plain image. */
  readonly encryption?: EncryptionOptions | undefined;
  /** Keeps the data in a file of its own, which with `raw` reads as the disk by itself; left out for none. */
  readonly dataFile?: { readonly raw: boolean } | undefined;
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
  /** Key and value; an image has all of them. */
  readonly labels: readonly LabelFilter[];
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
  /** The name of the image's file in the image folder. */
  readonly fileName: string;
  readonly description: ImageDescription;
  readonly inspection: ImageInspection;
  /** The first {@link snapshotsPerPageMax}. */
  readonly snapshots: readonly SnapshotDescription[];
}

/** `{image}` is an id or a name everywhere; without such an image every verb faults `image-not-found`. */
export class Images {
  readonly #catalog: ServiceParts['catalog'];
  readonly #directory: ServiceParts['directory'];
  readonly #pool: ServiceParts['pool'];
  readonly #access: ImageAccess;
  readonly #newImages: NewImages;
  readonly #usage: Pick<Usage, 'requireQuota'>;
  readonly #parts: Pick<ServiceParts, 'clock' | 'directory' | 'pool' | 'entropy'>;
  readonly #edits: ImageEdits;

  constructor(
    parts: Pick<ServiceParts, 'catalog' | 'clock' | 'directory' | 'pool' | 'entropy'> & {
      readonly access: ImageAccess;
      readonly newImages: NewImages;
      readonly usage: Pick<Usage, 'requireQuota'>;
    },
  ) {
    this.#catalog = parts.catalog;
    this.#directory = parts.directory;
    this.#pool = parts.pool;
    this.#access = parts.access;
    this.#newImages = parts.newImages;
    this.#usage = parts.usage;
    this.#parts = parts;
    this.#edits = new ImageEdits(parts);
  }

  /** Faults `name-conflict`, `invalid-geometry`, `unsupported-option`, `chain-too-deep`, `insufficient-storage`. */
  async create(options: CreateOptions, control?: WorkControl): Promise<Image> {
    const { name, description, labels, backing, dataFile, encryption: wanted, ...format } = options;
    if (format.virtualSize === undefined && backing === undefined) throw sizeMissing();
    await this.#usage.requireQuota(writesAll(format.preallocation) ? (format.virtualSize ?? 0) : 0);
    if (writesAll(format.preallocation)) await requireSpace(this.#directory, format.virtualSize ?? 0);

    const reservation = {
      name,
      description,
      labels,
      backing,
      state: 'creating',
      signal: control?.signal,
      control,
    } as const;
    return this.#newImages.make(reservation, async ({ id, path, base, signal }) => {
      const source = base?.source;
      const spec: CreateSpec = {
        ...format,
        virtualSize: present(format.virtualSize ?? base?.virtualSize, 'a new image has a size'),
        backing: source === undefined ? undefined : { fileName: source.fileName, format: source.format },
        dataFile: newDataFile(this.#parts, id, dataFile),
      };
      const below = base === undefined ? [] : [base.source, ...base.below];
      control?.started();
      const make = (encryption: NewEncryption | undefined): Promise<ImageDescription> => {
        const request = { imageId: id, path, spec: { ...spec, encryption }, backing: below };
        return this.#pool.create(request, { signal, onProgress: control?.onProgress });
      };
      const made = await withNewKey(this.#parts, { wanted, signal }, make);
      return { description: made, generation: generationFirst };
    });
  }

  /** Opens no file. */
  async list(options: ListOptions): Promise<ImagePage> {
    const { limit, cursor, name, state, labels } = options;
    const backingId = options.backing === undefined ? undefined : (await this.#access.find(options.backing)).id;
    const query = { limit: limit + 1, after: cursor, name, state, backingId, labels };
    const records = await this.#catalog.listImages(query);
    const page = records.slice(0, limit);
    return {
      items: page.map((record) => this.#access.live(record)),
      nextCursor: records.length > limit ? page.at(-1)?.id : undefined,
    };
  }

  /** In any state. */
  async show(image: string): Promise<Image> {
    return this.#access.liveSizes(await this.#access.find(image));
  }

  /** Changes what a client says of an image; see {@link ImageEdits}. */
  async update(image: string, change: ImageChange, terms: EditTerms): Promise<Image> {
    return this.#edits.apply(image, change, terms);
  }

  /**
   * Readers get some seconds to finish; the terms are judged by the very version that goes. Faults `image-protected`,
   * `image-has-dependents`, `image-in-use` while a run is under way.
   */
  async delete(image: string, terms?: EditTerms): Promise<void> {
    await this.#access.delete(image, terms);
  }

  /** Hands the file to another program. Faults `image-has-dependents`, `image-in-use`, `image-not-ready`. */
  async detach(image: string, claim?: LeaseClaim): Promise<Image> {
    return this.#access.live(await this.#access.detach(image, claim));
  }

  /** Takes the file back as it is now. Faults `image-in-use` while the other program has it. */
  async attach(image: string, claim?: LeaseClaim): Promise<Image> {
    return this.#access.live(await this.#access.attach(image, claim));
  }

  /** Faults `shrink-not-allowed`, `snapshots-prevent-resize`, `image-has-dependents`; to shrink it also `image-protected`. */
  async resize(image: string, options: ResizeOptions, control?: WorkControl): Promise<Image> {
    const virtualSize = alignUp(options.virtualSize, sectorSize);
    if (virtualSize === 0) throw new Fault('invalid-geometry', { option: 'virtualSize', value: 0, reason: sizeZero });
    const { allowShrink, preallocation } = options;
    const work = async (visit: Visit, marked: Marked): Promise<Image> => {
      if (virtualSize < visit.pulse.virtualSize) await requireUnprotected(this.#catalog, visit.imageId);
      if (writesAll(preallocation)) await requireSpace(this.#directory, virtualSize - visit.pulse.virtualSize);
      await control?.note({ virtualSize });
      await marked(() => visit.run('resize', { virtualSize, allowShrink, preallocation }, control));
      return this.show(visit.imageId);
    };
    return this.#access.restructure(image, 'resize', work, control);
  }

  /**
   * Makes the file another way: all of the wish or nothing of it. Faults `unsupported-option`, `refcount-overflow`,
   * `header-full`, `image-has-dependents`.
   */
  async amend(image: string, wish: AmendWish, control?: WorkControl): Promise<Image> {
    const work = async (visit: Visit, marked: Marked): Promise<Image> => {
      await marked(() => visit.run('amend', wish, control));
      // Nothing that is stored of the image tells what its data file is.
      if (wish.dataFileRaw !== undefined) await this.#catalog.touchImage(visit.imageId, { nowMs: this.#parts.clock() });
      return this.show(visit.imageId);
    };
    return this.#access.restructure(image, 'amend', work, control);
  }

  /** A bad image is a good check with bad news. Only a repair faults `image-has-dependents`. */
  async check(image: string, options: { readonly repair: RepairMode }, control?: WorkControl): Promise<CheckReport> {
    const mode = options.repair;
    if (mode === 'none') {
      const visitor = { changes: false, claim: control?.claim };
      return this.#access.use(image, visitor, (visit) => visit.run('check', {}, control), control);
    }
    const work = (visit: Visit, marked: Marked): Promise<CheckReport> =>
      marked(() => visit.run('repair', { mode }, control));
    return this.#access.restructure(image, 'repair', work, control);
  }

  async info(image: string): Promise<ImageInfo> {
    return this.#access.use(image, { changes: false }, async (visit) => ({
      description: await visit.call('describe', {}),
      inspection: await visit.call('inspect', {}),
      snapshots: (await visit.call('snapshots', { from: 0, limit: snapshotsPerPageMax })).items,
      fileName: this.#directory.fileName(visit.imageId),
    }));
  }

  /** The image and all below it, top first. */
  async chain(image: string): Promise<readonly Image[]> {
    const { id } = await this.#access.find(image);
    const records = await this.#catalog.listChain(id);
    return records.map((record) => this.#access.live(record));
  }
}

const sizeZero = 'an image that was resized has at least one sector';

/** Whether the whole size is taken from the file system at once. */
function writesAll(preallocation: CreateSpec['preallocation']): boolean {
  return preallocation === 'full' || preallocation === 'falloc';
}

function sizeMissing(): Fault {
  const message = 'say how large the image is, or name the image below it';
  return new Fault('invalid-request', { errors: [{ pointer: '/virtualSize', message }] });
}
