// The mark in an image's row while a structural operation is under way, and how it goes.

import { assert } from '../base/assert.ts';
import { Fault } from '../base/fault.ts';
import type { SettledKey, StructuralOperation } from '../catalog/catalog.ts';
import { leavesDoubts } from './image-failures.ts';
import type { ServiceParts } from './service-parts.ts';
import type { WorkControl } from './work-control.ts';

/** Wraps the part of a structural work that must not be left half done. */
export type Marked = <Inner>(inner: () => Promise<Inner>) => Promise<Inner>;

/** Whoever changes the structure of an image. */
export interface MarkedVisit {
  readonly imageId: string;
  admit(): void;
  flush(): Promise<void>;
  learn(): Promise<unknown>;
}

export type Marking = Pick<ServiceParts, 'catalog' | 'report'> & {
  readonly operation: StructuralOperation;
  readonly control: WorkControl | undefined;
  /** Closes the image; the next caller opens it as after a crash. */
  readonly reopen: () => Promise<void>;
};

/**
 * While the work goes on, the row says that the operation is under way: if the process or the thread dies, the next open
 * repairs the image first. Afterwards the row knows the new facts. The mark outlives only a failure that may have left
 * something to mend, and then the image is closed at once, so that whoever comes next finds it mended.
 */
export async function whileMarked<Result>(
  marking: Marking,
  visit: MarkedVisit,
  work: () => Promise<Result>,
): Promise<Result> {
  const { catalog, operation } = marking;
  visit.admit();
  await catalog.markStructural(visit.imageId, operation);
  let result: Result;
  try {
    result = await work();
    await visit.flush();
  } catch (error) {
    await settle(marking, visit, error);
    throw error;
  }
  await visit.learn();
  await catalog.clearStructural(visit.imageId, settledBy(marking, visit, result));
  return result;
}

async function settle(marking: Marking, visit: MarkedVisit, error: unknown): Promise<void> {
  const { catalog, control, report, reopen } = marking;
  if (isUndone(error, control)) {
    // Durable before the row forgets that something was under way.
    await visit.flush();
    await visit.learn();
    await catalog.clearStructural(visit.imageId, []);
  } else if (changesNothing(error)) {
    await catalog.clearStructural(visit.imageId, []);
  } else {
    try {
      await reopen();
    } catch (failure) {
      report({ doing: 'closing an image that is to be mended', imageId: visit.imageId, error: failure });
    }
  }
}

/** The key of the request, when it has one: with what was made. */
function settledBy(marking: Marking, { imageId }: MarkedVisit, result: unknown): readonly SettledKey[] {
  const { operation, control } = marking;
  if (control?.key === undefined) return [];
  assert(operation === 'snapshot-create', 'a request with a key makes something');
  return [{ id: control.key, outcome: { kind: 'snapshot', imageId, snapshot: result } }];
}

/** Whether the work went back step by step: it was asked to stop, or its lease ended. */
function isUndone(error: unknown, control: WorkControl | undefined): boolean {
  if (control !== undefined && control.signal.aborted && error === control.signal.reason) return true;
  return error instanceof Fault && (error.kind === 'precondition' || error.kind === 'locked');
}

/** Refusals come before the first change; whatever else went wrong may have left something to mend. */
function changesNothing(error: unknown): boolean {
  const refusals = ['conflict', 'unprocessable', 'range', 'not_found', 'invalid'];
  if (!(error instanceof Fault) || leavesDoubts(error)) return false;
  return refusals.includes(error.kind) || error.code === 'engine-busy' || error.code === 'image-marked-corrupt';
}
