// The planned exports of one open image: files that are laid out and never stored.

import { Fault } from '../base/fault.ts';
import type { SnapshotDescription, Steps, VirtualFile } from '../engine/image.ts';
import type { EngineImage } from './engine.ts';
import type { EngineCalls } from './protocol.ts';

/** What to lay out. */
export type PlanArgs = EngineCalls['planExport']['args'];

interface Plan {
  readonly args: PlanArgs;
  /** Of a snapshot: its id. */
  readonly snapshotId: string | undefined;
  readonly generation: number;
  readonly length: number;
  /** Undefined after the image was opened again, until it is needed. */
  file: VirtualFile | undefined;
}

/** A plan of the live image is good for one generation; a plan of a snapshot as long as the snapshot. */
export class ExportPlans {
  readonly #plansMax: number;
  readonly #plans = new Map<number, Plan>();
  #lastId = 0;

  constructor(options: { readonly plansMax: number }) {
    this.#plansMax = options.plansMax;
  }

  /** Lays a file out; nothing may change meanwhile. Faults `engine-busy` and those of the engine. */
  *add(
    image: EngineImage,
    options: { readonly args: PlanArgs; readonly generation: number },
  ): Steps<EngineCalls['planExport']['result']> {
    if (this.#plans.size >= this.#plansMax) throw new Fault('engine-busy', { exportPlansMax: this.#plansMax });
    const { args, generation } = options;
    const snapshotId = args.snapshot === undefined ? undefined : requireSnapshot(image, args.snapshot).id;
    const file = yield* layOut(image, args);
    const { length } = file;
    this.#lastId += 1;
    this.#plans.set(this.#lastId, { args, snapshotId, generation, length, file });
    return { id: this.#lastId, length, generation };
  }

  /** Faults `export-stale` for a plan that is no longer good, `range-not-satisfiable` {size} beyond its end. */
  read(
    image: EngineImage,
    options: { readonly id: number; readonly offset: number; readonly target: Uint8Array; readonly generation: number },
  ): void {
    const plan = this.#plans.get(options.id);
    if (plan === undefined) throw new Fault('export-stale', {});
    if (plan.snapshotId === undefined && plan.generation !== options.generation) {
      throw new Fault('export-stale', { planned: plan.generation, generation: options.generation });
    }
    if (options.offset + options.target.length > plan.length) {
      throw new Fault('range-not-satisfiable', { size: plan.length });
    }
    plan.file ??= atOnce(layOut(image, { ...plan.args, snapshot: plan.snapshotId }));
    if (plan.file.length !== plan.length) throw new Fault('export-stale', {});
    plan.file.read(options.offset, options.target);
  }

  close(id: number): void {
    this.#plans.delete(id);
  }

  /** The image was opened again: files are laid out anew when they are read next. */
  forgetFiles(): void {
    for (const plan of this.#plans.values()) plan.file = undefined;
  }

  /** Drops the plans of snapshots that are gone. */
  dropGone(image: EngineImage): void {
    for (const [id, { snapshotId }] of this.#plans) {
      if (snapshotId === undefined) continue;
      // A name may be another one's id: found by its name it is not the planned one.
      if (image.findSnapshot(snapshotId)?.snapshot.id !== snapshotId) this.#plans.delete(id);
    }
  }
}

/** By id or name, the id first. Faults `snapshot-not-found`. */
export function requireSnapshot(image: EngineImage, wanted: string): SnapshotDescription {
  const found = image.findSnapshot(wanted);
  if (found === undefined) throw new Fault('snapshot-not-found', { snapshot: wanted });
  return found.snapshot;
}

function layOut(
  image: EngineImage,
  wish: Pick<PlanArgs, 'format' | 'layer'> & { readonly snapshot?: string | undefined },
): Steps<VirtualFile> {
  return image.planExport({ format: wish.format, snapshot: wish.snapshot, layer: wish.layer });
}

function atOnce<Result>(steps: Steps<Result>): Result {
  for (;;) {
    const next = steps.next();
    if (next.done === true) return next.value;
  }
}
