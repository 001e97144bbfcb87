// Replaces the first cluster of an image so that a crash leaves the old one or the new one, never a mixture (FMT-12).
//
//   bytes behind the first sector, where the old header uses none ─ flush ─ first sector ─ flush
//
// Afterwards the rest of the old header is wiped.
//
// Only one sector is written whole or not at all, and it holds all that the rest is found by. Where the new extensions
// must come to lie on old ones behind the first sector, the header makes a detour: for a moment it is as long as both
// of them, and its extensions stand behind.
//
//   from     header │ extensions ─────── │
//   detour   header ─────────────────────────── │ extensions ─ │      the same content, in other places
//   to       header │ extensions ───────────── │

import { alignUp } from '../../base/integers.ts';
import { sectorSize } from '../../base/units.ts';
import { Fault } from '../../base/fault.ts';
import type { ByteFile } from '../file/byte-file.ts';
import { layOutHeader } from '../format/header-cluster.ts';
import type { HeaderCluster, HeaderContent, Stretch } from '../format/header-cluster.ts';
import { headerLengthV3 } from '../format/header.ts';
import type { Header } from '../format/header.ts';
import { hostOffset } from '../format/offsets.ts';

/** One header takes the place of another. */
export interface HeaderChange {
  /** As it stands in the file. */
  readonly from: HeaderCluster;
  /** What `from` says. */
  readonly content: HeaderContent;
  readonly to: HeaderContent;
}

/** Durable when it returns. Fault `header-full` before anything is written. */
export function rewriteHeader(file: ByteFile, change: HeaderChange): Header {
  const { from } = change;
  const { detour, last } = planRewrite(change);
  if (detour !== undefined) switchHeader(file, from, detour);
  switchHeader(file, detour ?? from, last);
  wipeOld(file, detour === undefined ? [from] : [from, detour], last);
  return last.header;
}

/** Fault `header-full` where {@link rewriteHeader} finds no room. */
export function planRewrite(change: HeaderChange): {
  readonly detour: HeaderCluster | undefined;
  readonly last: HeaderCluster;
} {
  const { from, content, to } = change;
  const keptNameAt = content.backingName === to.backingName ? from.header.backingNameOffset : undefined;
  const direct = layOutHeader(to, { taken: behindFirstSector(from), nameAt: keptNameAt });
  if (!areMixed(from, direct)) return { detour: undefined, last: direct };
  const detour = layOutDetour(change, direct);
  return { detour, last: layOutHeader(to, { taken: behindFirstSector(detour), nameAt: undefined }) };
}

/** Version 2 knows no other length, so the one that is of version 3 lends its content. */
function layOutDetour({ from, content, to }: HeaderChange, direct: HeaderCluster): HeaderCluster {
  const lender = content.header.version === 3 ? content : to;
  const length = alignUp(Math.max(endOf(from), endOf(direct)), sectorSize);
  if (lender.header.version === 2 || length > from.bytes.length) {
    throw new Fault('header-full', { required: length, available: from.bytes.length });
  }
  const unknownFields = new Uint8Array(length - headerLengthV3);
  const beside = { taken: [], nameAt: undefined };
  const detour = layOutHeader({ ...lender, header: { ...lender.header, length, unknownFields } }, beside);
  // Its unknown fields are nobody's: the bytes of the old header stay where they are.
  const used = detour.used.map((stretch) => (stretch.start === 0 ? { start: 0, end: headerLengthV3 } : stretch));
  return { ...detour, used };
}

function endOf({ used }: HeaderCluster): number {
  return used.reduce((end, stretch) => Math.max(end, stretch.end), 0);
}

function behindFirstSector({ used }: HeaderCluster): readonly Stretch[] {
  return used.filter(({ end }) => end > sectorSize);
}

/** Whether the new header needs another byte where, behind the first sector, the old one still needs its own. */
function areMixed(from: HeaderCluster, to: HeaderCluster): boolean {
  for (const one of behindFirstSector(from)) {
    for (const other of behindFirstSector(to)) {
      const end = Math.min(one.end, other.end);
      for (let at = Math.max(one.start, other.start, sectorSize); at < end; at += 1) {
        if (from.bytes[at] !== to.bytes[at]) return true;
      }
    }
  }
  return false;
}

function switchHeader(file: ByteFile, from: HeaderCluster, to: HeaderCluster): void {
  const end = endOf(to);
  if (end > sectorSize) {
    const tail = from.bytes.slice(sectorSize, end);
    for (const { start, end: stretchEnd } of behindFirstSector(to)) {
      const at = Math.max(start, sectorSize);
      tail.set(to.bytes.subarray(at, stretchEnd), at - sectorSize);
    }
    file.writeAt(hostOffset(sectorSize), tail);
    file.flush();
  }
  file.writeAt(hostOffset(0), to.bytes.subarray(0, sectorSize));
  file.flush();
}

/** Nothing is left of what old headers said, such as the name of a file. No reader depends on it. */
function wipeOld(file: ByteFile, old: readonly HeaderCluster[], to: HeaderCluster): void {
  const end = old.reduce((most, cluster) => Math.max(most, endOf(cluster)), 0);
  if (end > sectorSize) file.writeAt(hostOffset(sectorSize), to.bytes.subarray(sectorSize, Math.max(end, endOf(to))));
}
