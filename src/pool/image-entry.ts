// What goes through the gate of an image: calls that are done in one go, and runs with what they admit.

import type { Steps } from '../engine/image.ts';
import { overwritesOnly, readsOnly } from './calls.ts';
import type { PlanArgs } from './export-plans.ts';
import type { Admission, GateEntry } from './gate.ts';
import type { CallBody, OwnKeys, RequestBody } from './messages.ts';
import type { OpenImage } from './open-image.ts';
import type { EngineCalls } from './protocol.ts';
import { rulesOf, stepsOf } from './runs.ts';

/** With the volume keys of whoever asked, for this request alone. */
interface KeyedEntry extends GateEntry {
  readonly keys: OwnKeys;
}

export interface CallEntry extends KeyedEntry {
  readonly kind: 'call';
  readonly call: CallBody;
  readonly into: ArrayBuffer | undefined;
}

export interface RunEntry extends KeyedEntry {
  readonly kind: 'run';
  readonly admits: Admission;
  /** Whether each of its steps raises the generation. */
  readonly changes: boolean;
  /** Whether its first step takes that back by a refusal. */
  readonly refusesFirst: boolean;
  /** Nothing is done before the first. */
  readonly steps: Steps<unknown>;
}

export type ImageEntry = CallEntry | RunEntry;

/** A request on an image. */
export type ImageRequest = Extract<
  RequestBody,
  { readonly kind: 'open' | 'close' | 'leave' | 'call' | 'plan' | 'run' }
>;

/** What the gate is to let through for a request that gives up waiting at `deadlineMs`. */
export function entryOf(
  image: OpenImage,
  body: ImageRequest,
  waiting: { readonly id: number; readonly deadlineMs: number },
): ImageEntry {
  const alone = {
    ...waiting,
    kind: 'run',
    reads: false,
    overwrites: () => false,
    admits: 'nothing',
    changes: false,
    refusesFirst: false,
    epoch: undefined,
    keys: undefined,
  } as const;
  switch (body.kind) {
    case 'call': {
      const { call, into, epoch, keys } = body;
      const overwrites = (): boolean => overwritesOnly(image, call);
      return { ...waiting, kind: 'call', reads: readsOnly(call.name), overwrites, call, into, epoch, keys };
    }
    case 'open':
      return { ...alone, steps: image.open(body.request, body.handOver) };
    case 'plan':
      return { ...alone, admits: 'reads', steps: planning(image, body.args), keys: body.keys };
    case 'run':
      return {
        ...alone,
        ...rulesOf(body.run.name),
        steps: stepsOf(image, body.run),
        epoch: body.epoch,
        keys: body.keys,
      };
    case 'close':
      // Nobody is left who could lose patience.
      return { ...alone, deadlineMs: Infinity, steps: closing(image) };
    case 'leave':
      return { ...alone, deadlineMs: Infinity, steps: image.leave() };
  }
}

/** Lays a file out over what the image holds when the run begins. */
function* planning(image: OpenImage, args: PlanArgs): Steps<EngineCalls['planExport']['result']> {
  return yield* image.plans.add(image.file, { args, generation: image.generation });
}

/** The last run of an image. */
function* closing(image: OpenImage): Steps<Record<never, never>> {
  image.close();
  return {};
}
