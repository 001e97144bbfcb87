// Which clusters of a disk hold data, zeroes or nothing, asked from a layer extent by extent.

import { assert, unreachable } from '../../base/assert.ts';
import { divideUp } from '../../base/integers.ts';
import { l1EntriesFor } from '../format/geometry.ts';
import type { Geometry } from '../format/geometry.ts';
import { guestOffset } from '../format/offsets.ts';
import type { Layer, LayerExtent } from '../layer/layer.ts';
import { ExtentPace } from './extent-pace.ts';
import { RunList, runKinds } from './run-list.ts';
import type { RunKind } from './run-list.ts';
import type { Steps } from './steps.ts';

/** A surveyed disk. */
export interface GuestSurvey {
  /** One place a guest cluster: data is counted, zero is other. */
  readonly clusters: RunList;
  /** One place an L1 entry: counted where the L2 table has anything to say. */
  readonly tables: RunList;
}

/** Asks a layer for everything that it has; progress in guest bytes. */
export function* surveyLayer(layer: Layer, geometry: Geometry): Steps<GuestSurvey> {
  const builder = new SurveyBuilder(geometry);
  const pace = new ExtentPace();
  for (let offset = 0; offset < layer.size;) {
    const extent = layer.extentAt(guestOffset(offset), layer.size - offset);
    assert(extent.length > 0 && extent.length <= layer.size - offset, 'an extent makes progress inside its layer');
    builder.add(extent.length, kindOf(extent));
    offset += extent.length;
    if (pace.isFullWith(0)) yield { done: offset, total: layer.size };
  }
  return builder.finish(l1EntriesFor(geometry, layer.size));
}

function kindOf(extent: LayerExtent): RunKind {
  switch (extent.kind) {
    case 'data':
      // QEMU, too, takes what was never written as zeroes.
      return extent.preallocated === true ? runKinds.other : runKinds.counted;
    case 'zero':
      return runKinds.other;
    case 'absent':
      return runKinds.absent;
    default:
      return unreachable(extent);
  }
}

/** Rounds extents to clusters: one byte of data makes a data cluster, one byte of zeroes beats nothing at all. */
class SurveyBuilder {
  readonly #clusters = new RunList();
  readonly #tables = new RunList();
  readonly #clusterSize: number;
  readonly #l2Entries: number;
  #partLength = 0;
  #partKind: RunKind = runKinds.absent;

  constructor(geometry: Geometry) {
    this.#clusterSize = geometry.clusterSize;
    this.#l2Entries = geometry.l2Entries;
  }

  add(length: number, kind: RunKind): void {
    let rest = length;
    if (this.#partLength > 0) {
      const taken = Math.min(rest, this.#clusterSize - this.#partLength);
      this.#partLength += taken;
      this.#partKind = stronger(this.#partKind, kind);
      rest -= taken;
      if (this.#partLength < this.#clusterSize) return;
      this.#addClusters(1, this.#partKind);
      this.#partLength = 0;
    }
    this.#addClusters(Math.floor(rest / this.#clusterSize), kind);
    this.#partLength = rest % this.#clusterSize;
    this.#partKind = kind;
  }

  finish(l1Entries: number): GuestSurvey {
    if (this.#partLength > 0) this.#addClusters(1, this.#partKind);
    this.#tables.append(l1Entries - this.#tables.length, runKinds.absent);
    this.#clusters.close();
    this.#tables.close();
    return { clusters: this.#clusters, tables: this.#tables };
  }

  #addClusters(count: number, kind: RunKind): void {
    if (count === 0) return;
    const first = this.#clusters.length;
    this.#clusters.append(count, kind);
    if (kind === runKinds.absent) return;
    const firstTable = Math.floor(first / this.#l2Entries);
    const endTable = divideUp(first + count, this.#l2Entries);
    const known = this.#tables.length;
    if (firstTable > known) this.#tables.append(firstTable - known, runKinds.absent);
    this.#tables.append(endTable - Math.max(firstTable, known), runKinds.counted);
  }
}

function stronger(one: RunKind, other: RunKind): RunKind {
  if (one === runKinds.counted || other === runKinds.counted) return runKinds.counted;
  return one === runKinds.other || other === runKinds.other ? runKinds.other : runKinds.absent;
}
