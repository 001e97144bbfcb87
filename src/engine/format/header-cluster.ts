// The first cluster as a whole: fixed header, extensions and backing name in their places (FMT-10, FMT-12).
//
//   header │ extensions, end marker │ … │ backing name │ …
//   0      length                                      cluster size

import { Fault } from '../../base/fault.ts';
import { encodeExtensions, bytesOf, endOfExtensions, namesFeatures } from './header-extensions.ts';
import type { HeaderExtensions } from './header-extensions.ts';
import { backingNameLengthMax, encodeHeader } from './header.ts';
import type { Header } from './header.ts';

/** What the first cluster says. Where the backing name lies, and how long it is, is found when it is laid out. */
export interface HeaderContent {
  readonly header: Header;
  readonly extensions: HeaderExtensions;
  /** Undefined without one. */
  readonly backingName: string | undefined;
}

/** Bytes of the first cluster from `start` to before `end`. */
export interface Stretch {
  readonly start: number;
  readonly end: number;
}

export interface HeaderCluster {
  /** With the place of the backing name. */
  readonly header: Header;
  /** The whole cluster; what nobody uses is zero. */
  readonly bytes: Uint8Array;
  /** What it uses: the fixed header, the extensions, and the backing name if there is one; in order. */
  readonly used: readonly Stretch[];
}

/** Where the backing name may come to lie: behind the extensions in any case. */
export interface NamePlace {
  /** Beside all of these, which are in order. */
  readonly taken: readonly Stretch[];
  /** There, whatever is taken, if the extensions leave room; undefined for anywhere. */
  readonly nameAt: number | undefined;
}

/** Lays a content out. Fault `header-full` {required, available} in bytes when the cluster has no room for it. */
export function layOutHeader(content: HeaderContent, place: NamePlace): HeaderCluster {
  const clusterSize = 2 ** content.header.clusterBits;
  const { version, length } = content.header;
  const area = encodeExtensions(content.extensions, { named: namesFeatures(version, clusterSize) });
  const areaEnd = length + area.length;
  const name = content.backingName === undefined ? undefined : bytesOf(content.backingName);
  const nameAt = name === undefined ? 0 : placeOf(name, areaEnd, place);
  const required = name === undefined ? areaEnd : nameAt + name.length;
  if (required > clusterSize || (name?.length ?? 0) > backingNameLengthMax) {
    throw new Fault('header-full', { required, available: clusterSize });
  }
  const header = { ...content.header, backingNameOffset: nameAt, backingNameLength: name?.length ?? 0 };
  const bytes = new Uint8Array(clusterSize);
  bytes.set(encodeHeader(header));
  bytes.set(area, length);
  if (name !== undefined) bytes.set(name, nameAt);
  return { header, bytes, used: usedBy(header, areaEnd) };
}

/** A cluster as it was found; its extensions can be decoded. */
export function foundHeader(bytes: Uint8Array, header: Header): HeaderCluster {
  const { backingNameOffset: nameAt } = header;
  const areaEnd = endOfExtensions(bytes, {
    start: Math.min(header.length, bytes.length),
    end: nameAt === 0 ? bytes.length : nameAt,
  });
  return { header, bytes, used: usedBy(header, areaEnd) };
}

function usedBy(header: Header, areaEnd: number): readonly Stretch[] {
  const { length, backingNameOffset: nameAt, backingNameLength: nameLength } = header;
  const own = [
    { start: 0, end: length },
    { start: length, end: areaEnd },
  ];
  return nameAt === 0 ? own : [...own, { start: nameAt, end: nameAt + nameLength }];
}

function placeOf(name: Uint8Array, areaEnd: number, { taken, nameAt }: NamePlace): number {
  if (nameAt !== undefined && nameAt >= areaEnd) return nameAt;
  let at = areaEnd;
  for (const { start, end } of taken) if (at < end && start < at + name.length) at = end;
  return at;
}
