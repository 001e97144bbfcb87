// How large a file will be, before anybody makes it.

import type { CreateSpec, LuksCipher, MeasuredSize, MeasureSpec } from '../pool/protocol.ts';
import type { ImageAccess } from './image-access.ts';
import type { ServiceParts } from './service-parts.ts';
import { findSnapshot } from './snapshot-lookup.ts';

/** What the file would be made with; the caller spells out qemu-img's defaults. */
export interface MeasureOptions extends Omit<CreateSpec, 'virtualSize' | 'backing' | 'dataFile' | 'encryption'> {
  /** The image below, by id or name. */
  readonly backing: string | undefined;
  readonly dataFile: { readonly raw: boolean } | undefined;
  /** Undefined without LUKS. */
  readonly luks: LuksCipher | undefined;
  readonly signal: AbortSignal | undefined;
}

export class Measures {
  readonly #access: ImageAccess;
  readonly #pool: ServiceParts['pool'];
  readonly #directory: ServiceParts['directory'];

  constructor(parts: Pick<ServiceParts, 'pool' | 'directory'> & { readonly access: ImageAccess }) {
    this.#access = parts.access;
    this.#pool = parts.pool;
    this.#directory = parts.directory;
  }

  /** A new disk of so many bytes. Faults `invalid-geometry` and `unsupported-option` as making it would. */
  async ofSize(virtualSize: number, options: MeasureOptions): Promise<MeasuredSize> {
    const request = { spec: await this.#specOf(options), virtualSize };
    return this.#pool.measure(request, { signal: options.signal });
  }

  /** A copy of an image or of one of its snapshots, with all that lies below. Faults also `snapshot-not-found`. */
  async ofImage(image: string, snapshot: string | undefined, options: MeasureOptions): Promise<MeasuredSize> {
    const spec = await this.#specOf(options);
    using visit = await this.#access.enter(image, { changes: false, signal: options.signal });
    const asked = snapshot === undefined ? {} : { snapshot: (await findSnapshot(visit, snapshot)).id };
    return await visit.run('measure', { ...asked, spec });
  }

  async #specOf({ backing, dataFile, signal: _signal, ...given }: MeasureOptions): Promise<MeasureSpec> {
    const format = { ...given, dataFile: dataFile === undefined ? undefined : { ...thoughtOf, ...dataFile } };
    if (backing === undefined) return { ...format, backing: undefined };
    const { id } = await this.#access.find(backing);
    return { ...format, backing: { fileName: this.#directory.fileName(id), format: 'qcow2' } };
  }
}

/** No such file is made, and its bytes count as those in the image would: so does qemu-img. */
const thoughtOf = { fileName: 'disk.data', path: 'disk.data' };
