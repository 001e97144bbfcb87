// An overlay over a base, once as QEMU's and once as ours, made anew for each figure: what long work on chains needs.

import { rmSync } from 'node:fs';

import { KiB, MiB } from '../src/base/units.ts';
import { runCommand, settleDisk, timeCommand } from './processes.ts';
import type { Service } from './service.ts';
import type { Site } from './workplace.ts';

/** Bytes of the disk, all of which the base holds. */
export const overlaidLength = 512 * MiB;

/** What an overlay holds itself. */
export type OverlayContent = 'nothing' | 'every second cluster';

/** The bases: `base`, and `other`, which differs from it in every fourth MiB. */
export class Overlays {
  readonly #site: Site;
  readonly #service: Service;

  private constructor(site: Site, service: Service) {
    this.#site = site;
    this.#service = service;
  }

  static async make(site: Site): Promise<Overlays> {
    const service = await site.service();
    const overlays = new Overlays(site, service);
    const raw = site.fillRandom('base.raw', overlaidLength);
    runCommand('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', raw, overlays.#base]);
    rmSync(raw);
    runCommand('cp', [overlays.#base, overlays.#other]);
    fillEvery({ path: overlays.#other, stride: 4 * MiB, length: 1 * MiB });
    for (const content of ['nothing', 'every second cluster'] as const) overlays.#makeTemplate(content);
    service.upload(overlays.#base, '/v1/imports/base');
    service.upload(overlays.#other, '/v1/imports/other');
    return overlays;
  }

  /** Seconds that the work of `path` takes on an overlay of ours. */
  async ours(content: OverlayContent, work: { readonly path: string; readonly body: unknown }): Promise<number> {
    this.#service.upload(this.#template(content), '/v1/imports/overlay?backing=base');
    settleDisk();
    const startedAt = performance.now();
    await this.#service.ask('POST', `/v1/images/overlay/${work.path}`, { body: work.body, status: 200 });
    const seconds = (performance.now() - startedAt) / 1000;
    await this.#service.remove('overlay');
    return seconds;
  }

  /** Seconds that `qemu-img WORDS… FILE` takes on an overlay of QEMU's, and a sync of the file that it changes. */
  theirs(
    content: OverlayContent,
    work: { readonly words: readonly string[]; readonly changes: 'overlay' | 'base' },
  ): number {
    runCommand('cp', [this.#template(content), this.#overlay]);
    settleDisk();
    const changed = work.changes === 'base' ? this.#base : this.#overlay;
    const seconds = timeCommand('qemu-img', [...work.words, this.#overlay]) + timeCommand('sync', [changed]);
    rmSync(this.#overlay);
    return seconds;
  }

  /** What QEMU calls the second base. */
  get otherPath(): string {
    return this.#other;
  }

  get #base(): string {
    return this.#site.path('base.qcow2');
  }

  get #other(): string {
    return this.#site.path('other.qcow2');
  }

  get #overlay(): string {
    return this.#site.path('overlay.qcow2');
  }

  #template(content: OverlayContent): string {
    return this.#site.path(`overlay-with-${content.replaceAll(' ', '-')}.qcow2`);
  }

  #makeTemplate(content: OverlayContent): void {
    const path = this.#template(content);
    runCommand('qemu-img', ['create', '-q', '-f', 'qcow2', '-F', 'qcow2', '-b', this.#base, path]);
    if (content === 'every second cluster') fillEvery({ path, stride: 128 * KiB, length: 64 * KiB });
  }
}

/** Writes the first part of every stride of an image. */
function fillEvery({
  path,
  stride,
  length,
}: {
  readonly path: string;
  readonly stride: number;
  readonly length: number;
}): void {
  const count = overlaidLength / stride;
  const writes = Array.from({ length: count }, (_, index) => `write -q -P 0xa5 ${index * stride} ${length}`);
  runCommand('qemu-io', ['-f', 'qcow2', ...writes.flatMap((write) => ['-c', write]), path]);
}
