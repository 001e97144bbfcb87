// The first cluster of an image that is laid out in one go: fixed header, extensions, backing name (FMT-12).

import { Fault } from '../../base/fault.ts';
import { autoclearBits, compatibleBits, emptyMask, incompatibleBits, withBit } from '../format/features.ts';
import type { Mask64 } from '../format/features.ts';
import type { Geometry } from '../format/geometry.ts';
import { bytesOf, encodeExtensions, namesFeatures, noExtensions } from '../format/header-extensions.ts';
import type { EncryptionExtension } from '../format/header-extensions.ts';
import { encodeHeader, headerLengthV2, headerLengthV3 } from '../format/header.ts';
import type { EncryptionMethod } from '../format/header.ts';
import { hostOffset } from '../format/offsets.ts';
import type { CreateSpec } from './create-spec.ts';
import type { SequentialLayout } from './sequential-layout.ts';

/** What the header says beside the places; `virtualSize` in bytes. */
export interface NewHeader extends Pick<
  CreateSpec,
  'compat' | 'lazyRefcounts' | 'compressionType' | 'backing' | 'dataFile' | 'virtualSize'
> {
  readonly geometry: Geometry;
  readonly encryptionMethod: EncryptionMethod;
}

/** Encodes the used part of the first cluster. Fault `header-full` {needed, available} in bytes. */
export function encodeNewHeader(image: NewHeader, layout: SequentialLayout): Uint8Array {
  const { geometry, backing, dataFile } = image;
  const version = image.compat === '0.10' ? 2 : 3;
  const length = version === 2 ? headerLengthV2 : headerLengthV3;
  const extensions = encodeExtensions(
    {
      ...noExtensions,
      backingFormat: backing?.format,
      dataFileName: dataFile?.fileName,
      encryption: luksPlaceIn(layout),
    },
    { named: namesFeatures(version, geometry.clusterSize) },
  );
  const backingName = bytesOf(backing?.fileName ?? '');
  const backingNameOffset = length + extensions.length;
  const needed = backingNameOffset + backingName.length;
  if (needed > geometry.clusterSize) throw new Fault('header-full', { needed, available: geometry.clusterSize });

  const header = encodeHeader({
    version,
    backingNameOffset: backing === undefined ? 0 : backingNameOffset,
    backingNameLength: backingName.length,
    clusterBits: geometry.clusterBits,
    size: image.virtualSize,
    encryptionMethod: image.encryptionMethod,
    l1Entries: layout.l1Entries,
    l1TableOffset: hostOffset(layout.l1Entries === 0 ? 0 : layout.l1Offset),
    refcountTableOffset: hostOffset(layout.refcountTableOffset),
    refcountTableClusters: layout.refcountTableClusters,
    snapshotCount: 0,
    snapshotsOffset: hostOffset(0),
    incompatible: incompatibleOf(image),
    compatible: withBit(emptyMask, compatibleBits.lazyRefcounts, image.lazyRefcounts),
    autoclear: withBit(emptyMask, autoclearBits.rawExternalData, dataFile?.raw === true),
    refcountOrder: geometry.refcountOrder,
    length,
    compressionType: image.compressionType === 'zstd' ? 1 : 0,
    unknownFields: new Uint8Array(0),
  });
  const cluster = new Uint8Array(needed);
  cluster.set(header, 0);
  cluster.set(extensions, length);
  cluster.set(backingName, backingNameOffset);
  return cluster;
}

function luksPlaceIn({ luksOffset, luksLength }: SequentialLayout): EncryptionExtension | undefined {
  return luksLength === 0 ? undefined : { offset: hostOffset(luksOffset), length: luksLength };
}

function incompatibleOf(image: NewHeader): Mask64 {
  const compression = withBit(emptyMask, incompatibleBits.compressionType, image.compressionType === 'zstd');
  const extended = withBit(compression, incompatibleBits.extendedL2, image.geometry.extendedL2);
  return withBit(extended, incompatibleBits.externalDataFile, image.geometry.externalData);
}
