// Copies of images: standalone ones, which go on without their source, and linked ones, which are overlays over it.

import { Fault } from '../base/fault.ts';
import type { ImageFacts } from '../catalog/catalog.ts';
import type { CreateSpec, EngineRuns, NewEncryption } from '../pool/protocol.ts';
import type { ImageAccess } from './image-access.ts';
import { requireFacts } from './image-facts.ts';
import type { Image } from './image-facts.ts';
import type { Images } from './images.ts';
import { generationFirst } from './new-images.ts';
import type { NewImages } from './new-images.ts';
import { newDataFile, withNewKey } from './new-file-parts.ts';
import type { EncryptionOptions } from './new-file-parts.ts';
import type { ServiceParts } from './service-parts.ts';
import { findSnapshot } from './snapshot-lookup.ts';
import type { Usage } from './usage.ts';
import type { Visit } from './visit.ts';
import type { WorkControl } from './work-control.ts';

export interface CopyOptions {
  readonly name: string;
  /** What is copied of the image: a snapshot by id or name, or, undefined, what it holds now. */
  readonly snapshot: string | undefined;
  /** As the source has it when undefined, like every other option of its format. */
  readonly clusterSize: number | undefined;
  readonly compressionType: 'zlib' | 'zstd' | undefined;
  /** Whether the clusters of a full copy are stored compressed. */
  readonly compress: boolean;
  readonly mode: 'full' | 'linked';
  /** How the copy is encrypted; it is plain when undefined, whatever the source is. */
  readonly encryption: EncryptionOptions | undefined;
  /** The copy keeps its data in a file of its own; itself when undefined, whatever the source does. */
  readonly dataFile: { readonly raw: boolean } | undefined;
}

type Format = Omit<CreateSpec, 'virtualSize' | 'backing' | 'encryption' | 'dataFile'>;

export class Copies {
  readonly #access: ImageAccess;
  readonly #images: Pick<Images, 'create'>;
  readonly #newImages: NewImages;
  readonly #usage: Pick<Usage, 'requireQuota'>;
  readonly #parts: Pick<ServiceParts, 'directory' | 'pool' | 'entropy'>;

  constructor(
    parts: Pick<ServiceParts, 'directory' | 'pool' | 'entropy'> & {
      readonly access: ImageAccess;
      readonly images: Pick<Images, 'create'>;
      readonly newImages: NewImages;
      readonly usage: Pick<Usage, 'requireQuota'>;
    },
  ) {
    this.#parts = parts;
    this.#access = parts.access;
    this.#images = parts.images;
    this.#newImages = parts.newImages;
    this.#usage = parts.usage;
  }

  /**
   * A full copy is of one moment: changes of the source wait until it is made, and those that a request waits for are
   * `engine-busy` when that takes too long. Faults of create, `snapshot-not-found`, `passphrase-required`.
   */
  async copy(image: string, options: CopyOptions, control?: WorkControl): Promise<Image> {
    if (options.mode === 'linked') return this.#link(image, options, control);
    await this.#usage.requireQuota(0);
    const caller = { changes: false, claim: control?.claim };
    return this.#access.use(image, caller, (visit) => this.#fill(visit, options, control), control);
  }

  async #fill(visit: Visit, options: CopyOptions, control: WorkControl | undefined): Promise<Image> {
    const { name, compress, dataFile, encryption: wanted } = options;
    const snapshot = options.snapshot === undefined ? undefined : await findSnapshot(visit, options.snapshot);
    const format = formatOf(requireFacts(visit.record), options);
    const asked = snapshot === undefined ? {} : { snapshot: snapshot.id };
    const reservation = { ...namelessly, name, backing: undefined, signal: control?.signal, control } as const;
    return this.#newImages.make(reservation, async ({ id, path, signal }) => {
      const watched = control === undefined ? undefined : { ...control, signal };
      const copy = (encryption: NewEncryption | undefined): Promise<EngineRuns['copy']['result']> => {
        const spec = {
          ...format,
          backing: undefined,
          encryption,
          dataFile: newDataFile(this.#parts, id, dataFile),
        };
        return visit.run('copy', { path, spec, compress, layer: 'all', ...asked }, watched);
      };
      const { description } = await withNewKey(this.#parts, { wanted, signal }, copy);
      return { description, generation: generationFirst };
    });
  }

  async #link(image: string, options: CopyOptions, control: WorkControl | undefined): Promise<Image> {
    if (options.snapshot !== undefined)
      throw refusal('snapshot', 'an overlay stands on an image, not on a snapshot in it');
    if (options.compress) throw refusal('compress', 'a linked copy holds nothing that could be compressed');
    const format = formatOf(requireFacts(await this.#access.findReady(image)), options);
    const { name, encryption, dataFile } = options;
    const overlay = { ...namelessly, ...format, name, virtualSize: undefined, backing: image, encryption, dataFile };
    return this.#images.create(overlay, control);
  }
}

const namelessly = { description: '', labels: {}, state: 'creating' } as const;

/** What was not asked for is as with the source. */
function formatOf(facts: ImageFacts, options: CopyOptions): Format {
  const { compat, refcountBits, lazyRefcounts, extendedL2 } = facts;
  return {
    clusterSize: options.clusterSize ?? facts.clusterSize,
    compressionType: options.compressionType ?? facts.compressionType,
    compat,
    refcountBits,
    lazyRefcounts,
    extendedL2,
    preallocation: 'off',
  };
}

function refusal(option: string, reason: string): Fault {
  return new Fault('unsupported-option', { option, reason });
}
