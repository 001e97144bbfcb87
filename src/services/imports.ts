// Images that come in as one stream: staged, judged completely, then published, or nothing is left of them.

import type { Labels } from '../catalog/catalog.ts';
import type { RepairMode } from '../pool/protocol.ts';
import type { Image } from './image-facts.ts';
import type { CreateOptions } from './images.ts';
import type { NewImages } from './new-images.ts';
import { takeQcow2 } from './qcow2-import.ts';
import { requireKnownSize, requirePackable, takeRaw } from './raw-import.ts';
import type { ServiceParts } from './service-parts.ts';
import { requireSpace } from './storage-faults.ts';
import type { Usage } from './usage.ts';
import type { WorkControl } from './work-control.ts';

/** What comes in. */
export interface ImportOptions {
  readonly name: string;
  readonly description: string;
  readonly labels: Labels;
  /** What the client says the body's length is, in bytes, or undefined when it does not. */
  readonly bodyLength: number | undefined;
  /** The expected SHA-256 of the body. */
  readonly sha256: Uint8Array | undefined;
  readonly source:
    | {
        /** The bytes are kept as sent; only a mapped backing name is rewritten. */
        readonly format: 'qcow2';
        /** The image of this service, by id or name, that the file's backing name stands for. */
        readonly backing: string | undefined;
        /** Leaks and the dirty bit are always mended; `all` mends what can be mended. */
        readonly repair: Exclude<RepairMode, 'none'>;
      }
    | {
        /** The guest bytes of a new image; its size is the body's, rounded up to 512. */
        readonly format: 'raw';
        readonly create: Pick<
          CreateOptions,
          | 'clusterSize'
          | 'compat'
          | 'refcountBits'
          | 'lazyRefcounts'
          | 'extendedL2'
          | 'compressionType'
          | 'preallocation'
        >;
        /** Whether clusters are stored packed; not for an image that has all its clusters from the start. */
        readonly compress: boolean;
        /** As {@link CreateOptions} has them. */
        readonly dataFile: CreateOptions['dataFile'];
        readonly encryption: CreateOptions['encryption'];
      };
  /** Aborted when the client has gone: an import whose body is not there yet ends and leaves nothing. */
  readonly signal: AbortSignal | undefined;
}

export class Imports {
  readonly #parts: Pick<ServiceParts, 'directory' | 'pool' | 'report' | 'entropy'>;
  readonly #newImages: NewImages;
  readonly #usage: Pick<Usage, 'requireQuota'>;

  constructor(
    parts: Pick<ServiceParts, 'directory' | 'pool' | 'report' | 'entropy'> & {
      readonly newImages: NewImages;
      readonly usage: Pick<Usage, 'requireQuota'>;
    },
  ) {
    this.#parts = parts;
    this.#newImages = parts.newImages;
    this.#usage = parts.usage;
  }

  /**
   * Nothing is taken from the body before the name is taken and the request is judged. Faults `name-conflict`,
   * `insufficient-storage`, `content-range-mismatch` (the body ended early), `digest-mismatch`, `unsafe-image` with
   * `violations`, and those of create.
   */
  async importImage(options: ImportOptions, body: AsyncIterable<Uint8Array>, control?: WorkControl): Promise<Image> {
    const { name, description, labels, source, bodyLength, sha256 } = options;
    const client = new ClientPart(options.signal);
    const signals = [client.signal, ...(control === undefined ? [] : [control.signal])];
    const signal = AbortSignal.any(signals);
    const reservation = { name, description, labels, signal, control, state: 'importing' } as const;
    const onTaken = (): void => {
      client.end();
      control?.started();
    };
    const incoming = { body, bodyLength, sha256, onTaken, onProgress: control?.onProgress };
    await this.#usage.requireQuota(bodyLength ?? 0);
    if (source.format === 'raw') {
      const { create, compress, dataFile, encryption } = source;
      const wish = { create, compress, dataFile, encryption };
      requireKnownSize(create, bodyLength);
      if (compress) requirePackable(wish);
      return this.#newImages.make({ ...reservation, backing: undefined }, (draft) =>
        takeRaw(this.#parts, draft, { ...incoming, ...wish }),
      );
    }
    const { backing, repair } = source;
    if (bodyLength !== undefined) await requireSpace(this.#parts.directory, bodyLength);
    return this.#newImages.make({ ...reservation, backing }, (draft) =>
      takeQcow2(this.#parts, draft, { ...incoming, repair }),
    );
  }
}

/** The part of an import that needs the client: one that leaves before it is over ends the import, later none does. */
class ClientPart {
  readonly #leaving = new AbortController();
  readonly #client: AbortSignal | undefined;
  readonly #leave = (): void => this.#leaving.abort(this.#client?.reason);

  constructor(client: AbortSignal | undefined) {
    this.#client = client;
    if (client?.aborted === true) this.#leave();
    client?.addEventListener('abort', this.#leave, { once: true });
  }

  get signal(): AbortSignal {
    return this.#leaving.signal;
  }

  end(): void {
    this.#client?.removeEventListener('abort', this.#leave);
  }
}
