// Lays out a standalone file over a layer, flattened and uncompressed, that is never stored: length and any range of it.

import { Fault } from '../../base/fault.ts';
import { alignUp, divideUp } from '../../base/integers.ts';
import { sectorSize } from '../../base/units.ts';
import { clusterBitsMax, geometryOf, l1EntriesFor } from '../format/geometry.ts';
import type { Geometry } from '../format/geometry.ts';
import { l1EntriesMax } from '../format/header.ts';
import { guestOffset } from '../format/offsets.ts';
import type { Layer } from '../layer/layer.ts';
import { surveyLayer } from './guest-survey.ts';
import { encodeNewHeader } from './new-header.ts';
import { layoutOf } from './sequential-layout.ts';
import type { Steps } from './steps.ts';
import type { VirtualFile } from './virtual-file.ts';
import { VirtualImage } from './virtual-image.ts';

/** What to lay out. */
export interface VirtualExportOptions {
  readonly format: 'qcow2' | 'raw';
  /** The top of a chain, or a view of one layer only: nothing is asked but this. It must outlive the file. */
  readonly layer: Layer;
  /** In bytes, for qcow2: that of the source, as a rule. Becomes larger where a full disk would not fit otherwise. */
  readonly clusterSize: number;
}

/** Refcounts of an exported image have the usual 16 bits. */
const exportRefcountOrder = 4;

/**
 * Plans the file: raw at once, qcow2 after asking for all extents. The bytes are those of the layer when they are read,
 * so the plan is good only as long as the layer does not change. Data becomes data clusters, zeroes become zero
 * clusters, and where no layer has anything nothing is stored. Fault `image-full` when the file would end beyond 2^53.
 */
export function* planExport(options: VirtualExportOptions): Steps<VirtualFile> {
  const { layer } = options;
  if (options.format === 'raw') {
    return { length: layer.size, read: (offset, target) => layer.read(guestOffset(offset), target) };
  }
  const virtualSize = alignUp(layer.size, sectorSize);
  const geometry = geometryFor(virtualSize, options.clusterSize);
  const survey = yield* surveyLayer(layer, geometry);
  const layout = layoutOf(geometry, {
    l1Entries: l1EntriesFor(geometry, virtualSize),
    l2Tables: survey.tables.counted,
    dataClusters: survey.clusters.counted,
    luksLength: 0,
  });
  if (layout === undefined) throw new Fault('image-full', { virtualSize, dataClusters: survey.clusters.counted });
  const header = encodeNewHeader(
    {
      geometry,
      virtualSize,
      compat: '1.1',
      lazyRefcounts: false,
      compressionType: 'zlib',
      backing: undefined,
      encryptionMethod: 0,
    },
    layout,
  );
  return new VirtualImage({ geometry, layout, header, survey, layer });
}

/** The wanted cluster size, or the next larger one with which even a full disk keeps the limits of the format. */
function geometryFor(virtualSize: number, clusterSize: number): Geometry {
  for (let clusterBits = Math.log2(clusterSize); ; clusterBits += 1) {
    const geometry = geometryOf({ clusterBits, extendedL2: false, refcountOrder: exportRefcountOrder });
    if (clusterBits === clusterBitsMax || holdsFullDisk(geometry, virtualSize)) return geometry;
  }
}

function holdsFullDisk(geometry: Geometry, virtualSize: number): boolean {
  const l1Entries = l1EntriesFor(geometry, virtualSize);
  if (l1Entries > l1EntriesMax) return false;
  const dataClusters = divideUp(virtualSize, geometry.clusterSize);
  return layoutOf(geometry, { l1Entries, l2Tables: l1Entries, dataClusters, luksLength: 0 }) !== undefined;
}
