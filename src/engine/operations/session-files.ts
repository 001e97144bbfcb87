// The files of one open image: its own, those beside it, and the chain below, which may be exchanged.

import { assert } from '../../base/assert.ts';
import { Fault } from '../../base/fault.ts';
import type { ByteFile } from '../file/byte-file.ts';
import { DataFile } from '../file/data-file.ts';
import { TrackedFile } from '../file/tracked-file.ts';
import type { Layer } from '../layer/layer.ts';
import type { BackingFile, DataFileSource } from '../layer/open-gate.ts';
import { HeaderArea } from '../metadata/header-area.ts';
import { ChainKeys } from './chain-keys.ts';
import type { VolumeKeys } from './chain-keys.ts';
import { ImageCaches } from './image-caches.ts';
import { openBacking, openChain, openDataFile } from './open.ts';
import type { Beside, LayerOptions } from './open.ts';
import type { RuntimeOptions } from './runtime-options.ts';
import type { Steps } from './steps.ts';

export type SessionOptions =
  | ({
      readonly writable: boolean;
      readonly chain: readonly BackingFile[];
      readonly dataFile: DataFileSource | undefined;
      readonly runtime: RuntimeOptions | undefined;
      /** Of an image that is itself a layer of another one's chain: where its layers join; left out for its own record. */
      readonly within?: Pick<LayerOptions, 'keys' | 'depth'> & { readonly keys: ChainKeys };
      readonly shares?: boolean | undefined;
      readonly hostCopies?: boolean | undefined;
    } & Omit<LayerOptions, 'keys' | 'depth' | 'cleaning'>)
  | { readonly writable: boolean; readonly layer: Layer | undefined; readonly openDataFile: ByteFile | undefined };

/** A chain that was opened, nearest first, and the keys of its layers. */
export interface OpenChain {
  readonly files: readonly BackingFile[];
  readonly layer: Layer | undefined;
  readonly keys: ChainKeys;
}

export class SessionFiles {
  readonly file: TrackedFile;
  readonly caches: ImageCaches;
  readonly #dataFile: DataFile | undefined;
  readonly #options: SessionOptions;
  #chain: OpenChain;
  /** All chains that are open: the own one, and those that are read beside it. */
  readonly #open = new Set<OpenChain>();
  /** Our own copies. */
  #keys: VolumeKeys = new Map();

  private constructor(open: {
    readonly file: TrackedFile;
    readonly dataFile: DataFile | undefined;
    readonly options: SessionOptions;
    readonly chain: OpenChain;
    readonly caches: ImageCaches;
  }) {
    this.file = open.file;
    this.caches = open.caches;
    this.#dataFile = open.dataFile;
    this.#options = open.options;
    this.#chain = open.chain;
    this.#open.add(open.chain);
  }

  /** Takes the files and the layer over: they are closed when opening fails. */
  static open(
    untracked: ByteFile,
    options: SessionOptions,
  ): { readonly files: SessionFiles; readonly header: HeaderArea } {
    let layer = 'layer' in options ? options.layer : undefined;
    let dataFile = 'layer' in options ? dataFileOver(options.openDataFile) : undefined;
    try {
      const file = new TrackedFile(untracked);
      const header = HeaderArea.read(file, { forCheck: true });
      const within = 'chain' in options ? options.within : undefined;
      const { keys, depth } = within ?? { keys: new ChainKeys(), depth: 1 };
      const caches = new ImageCaches('chain' in options ? options.caches : undefined);
      if ('chain' in options) {
        dataFile = openDataFile(header, options.dataFile, options);
        layer = openBacking(header, options.chain, { ...options, cleaning: caches.cleaning, keys, depth });
      } else if (header.hasDataFile && dataFile === undefined) {
        throw new Fault('data-file-refused', { fileName: header.extensions.dataFileName, reason: 'it is not given' });
      }
      const chain = { files: 'chain' in options ? options.chain : [], layer, keys };
      return { files: new SessionFiles({ file, dataFile, options, chain, caches }), header };
    } catch (error) {
      layer?.close();
      dataFile?.close();
      untracked.close();
      throw error;
    }
  }

  get beside(): Beside {
    return { backing: this.#chain.layer, dataFile: this.#dataFile, cleaning: this.caches.cleaning };
  }

  /** Whether data that goes to other files, or into this one, is copied by the file system where it can. */
  get hostCopies(): boolean {
    return 'chain' in this.#options && this.#options.hostCopies === true;
  }

  /** How the files of the chain are opened. */
  get layerOptions(): Omit<LayerOptions, 'keys' | 'depth'> {
    const options = this.#options;
    assert('chain' in options, 'an image is put on other files than those of the chain that it was opened with');
    return { locks: options.locks, caches: options.caches, cleaning: this.caches.cleaning };
  }

  get chain(): OpenChain {
    return this.#chain;
  }

  /** Gives the layers of all open chains, and of those that will be opened, their keys; one without a key is locked. */
  useKeys(keys: VolumeKeys): void {
    for (const key of this.#keys.values()) key.fill(0);
    this.#keys = new Map(Array.from(keys, ([path, key]) => [path, Uint8Array.from(key)]));
    for (const chain of this.#open) chain.keys.use(this.#keys);
  }

  /** Opens another chain, as {@link openWith} does. */
  openChain(files: readonly BackingFile[]): OpenChain {
    const options = this.layerOptions;
    return this.openWith((keys) => ({ files, layer: openChain(files, { ...options, keys, depth: 1 }) }));
  }

  /** Another chain, unlocked as far as its keys are there; whoever does not {@link standOn} it gives it to {@link closeChain}. */
  openWith<Chain extends Omit<OpenChain, 'keys'>>(open: (keys: ChainKeys) => Chain): Chain & OpenChain {
    const keys = new ChainKeys();
    const chain = { ...open(keys), keys };
    keys.use(this.#keys);
    this.#open.add(chain);
    return chain;
  }

  closeChain(chain: OpenChain): void {
    this.#open.delete(chain);
    chain.keys.lock();
    chain.layer?.close();
  }

  /**
   * Reads of another chain, which is not empty, beside the own one, and closes it again. Fault `passphrase-required`
   * {other: true} when one of its files is locked.
   */
  *besideChain<Result>(files: readonly BackingFile[], work: (layer: Layer) => Steps<Result>): Steps<Result> {
    const chain = this.openChain(files);
    try {
      assert(chain.layer !== undefined, 'a chain to read of has a file');
      if (chain.keys.areMissing) throw new Fault('passphrase-required', { other: true });
      return yield* work(chain.layer);
    } finally {
      this.closeChain(chain);
    }
  }

  /** The image stands on another chain from now on. The old one is the caller's to close. */
  standOn(chain: OpenChain): OpenChain {
    const before = this.#chain;
    this.#chain = chain;
    return before;
  }

  close(): void {
    this.useKeys(new Map());
    try {
      this.closeChain(this.#chain);
    } finally {
      try {
        this.#dataFile?.close();
      } finally {
        this.file.close();
      }
    }
  }
}

function dataFileOver(file: ByteFile | undefined): DataFile | undefined {
  return file === undefined ? undefined : new DataFile(file);
}
