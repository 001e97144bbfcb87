// Settles what an earlier process left half done, before the first request.

import type { ImageRecord, ImageState } from '../catalog/catalog.ts';
import type { ImageAccess } from './image-access.ts';
import type { Jobs } from './jobs.ts';
import { removeTraces } from './new-images.ts';
import type { ServiceParts } from './service-parts.ts';

/** Rows at a time. */
const pageLength = 500;
/** So many images are settled side by side: repairs wait for the disk and for different engine threads. */
const atOnce = 8;

export class Janitor {
  readonly #parts: Pick<ServiceParts, 'catalog' | 'directory' | 'clock' | 'report'>;
  readonly #access: ImageAccess;
  readonly #jobs: Jobs;

  constructor(
    parts: Pick<ServiceParts, 'catalog' | 'directory' | 'clock' | 'report'> & {
      readonly access: ImageAccess;
      readonly jobs: Jobs;
    },
  ) {
    this.#parts = parts;
    this.#access = parts.access;
    this.#jobs = parts.jobs;
  }

  /**
   * Half-made images go, deletions are finished, staging files are nobody's any more, and images whose file is gone are
   * `failed`. What a structural operation left half done is repaired. Then jobs are told how they ended. Trouble with one
   * image does not hold up the others.
   */
  async settle(): Promise<void> {
    for (const state of ['creating', 'importing', 'deleting'] as const) {
      await this.#forEach(state, 'taking back an image that is half done', (image) => this.#removeTraces(image));
    }
    await this.#emptyStaging();
    await this.#judgeFiles();
    await this.#jobs.settle();
  }

  async #removeTraces(image: ImageRecord): Promise<void> {
    await removeTraces(this.#parts, image.id);
  }

  /** Nothing comes in yet: what is staged belongs to an import that nobody continues. */
  async #emptyStaging(): Promise<void> {
    const { directory, report } = this.#parts;
    for (const id of new Set([...(await directory.list('staging')), ...(await directory.listData('staging'))])) {
      try {
        await directory.remove('staging', id);
      } catch (error) {
        report({ doing: 'removing a staging file', imageId: id, error });
      }
    }
  }

  async #judgeFiles(): Promise<void> {
    const { directory } = this.#parts;
    const files = new Set(await directory.list('images'));
    const orphans = new Set([...files, ...(await directory.listData('images'))]);
    await this.#forEach('ready', 'judging an image', async (image) => {
      orphans.delete(image.id);
      await this.#judge(image, files.has(image.id));
    });
    for (const state of ['failed', 'detached'] as const) {
      await this.#forEach(state, 'judging an image', async (image) => {
        orphans.delete(image.id);
      });
    }
    this.#reportOrphans(orphans);
  }

  async #judge(image: ImageRecord, hasFile: boolean): Promise<void> {
    const { catalog, clock } = this.#parts;
    if (!hasFile) {
      await catalog.failImage(image.id, { reason: 'The file of the image is gone', nowMs: clock() });
      return;
    }
    if (image.structural === undefined) return;
    // Opening it mends it.
    const visit = await this.#access.enter(image.id, { changes: false, signal: undefined });
    visit.leave();
  }

  /**
   * Rows come before files and go after them, so no crash of ours makes a file without a row: the catalog is an older
   * one, or a new one. Then the file may be the only thing that is left of somebody's data: it stays.
   */
  #reportOrphans(ids: ReadonlySet<string>): void {
    for (const id of ids) {
      const error = new Error('no record knows this file: import it again, or remove it');
      this.#parts.report({ doing: 'judging the files of the images', imageId: id, error });
    }
  }

  async #forEach(state: ImageState, doing: string, work: (image: ImageRecord) => Promise<void>): Promise<void> {
    const { catalog, report } = this.#parts;
    const all = { limit: pageLength, name: undefined, state, backingId: undefined, labels: [] };
    let after: string | undefined;
    do {
      const page: readonly ImageRecord[] = await catalog.listImages({ ...all, after });
      const rest = page.values();
      const workThrough = async (): Promise<void> => {
        for (const image of rest) {
          try {
            await work(image);
          } catch (error) {
            report({ doing, imageId: image.id, error });
          }
        }
      };
      await Promise.all(Array.from({ length: atOnce }, workThrough));
      after = page.length === pageLength ? page.at(-1)?.id : undefined;
    } while (after !== undefined);
  }
}
