// The first cluster of an open image: header, extensions and backing name, and the small writes that change them.

import { assert } from '../../base/assert.ts';
import { Fault } from '../../base/fault.ts';
import { alignUp } from '../../base/integers.ts';
import { sectorSize } from '../../base/units.ts';
import type { TrackedFile } from '../file/tracked-file.ts';
import { viewOf, writeMask64, writeUint64 } from '../format/big-endian.ts';
import {
  autoclearBits,
  bitsOf,
  compatibleBits,
  hasBit,
  incompatibleBits,
  unknownIncompatibleBits,
  withBit,
} from '../format/features.ts';
import type { Geometry } from '../format/geometry.ts';
import { foundHeader, layOutHeader } from '../format/header-cluster.ts';
import type { HeaderContent } from '../format/header-cluster.ts';
import {
  bitmapsExtensionHead,
  bitmapsExtensionLength,
  decodeExtensions,
  encodeBitmaps,
  judgeExtensions,
  placeOfBitmaps,
  textOf,
} from '../format/header-extensions.ts';
import type { BitmapsExtension, BitmapsExtensionPlace, HeaderExtensions } from '../format/header-extensions.ts';
import {
  decodeHeader,
  encodeHeader,
  hasDataFile,
  headerGeometry,
  isDataFileRaw,
  judgeTables,
  virtualSizeOf,
} from '../format/header.ts';
import type { Header } from '../format/header.ts';
import { hostOffset } from '../format/offsets.ts';
import type { HostOffset } from '../format/offsets.ts';
import { planRewrite, rewriteHeader } from './header-rewrite.ts';
import type { HeaderChange } from './header-rewrite.ts';

/** The fixed header before its unknown fields; any image has these bytes. */
const headerProbeLength = 512;

/** Where fields that change in place stand (section "Header"; FMT-13). */
const backingNameAt = 8;
const sizeAt = 24;
const refcountTableAt = 48;
const snapshotsAt = 60;
const incompatibleAt = 72;
const autoclearAt = 88;

/** Type and length of an extension; an end marker, too, has as many bytes. */
const bitmapsHeadLength = 8;

/** What one atomic write may change of the disk: all these fields lie in the first sector. */
export interface DiskSwitch {
  readonly virtualSize: number;
  readonly l1TableOffset: HostOffset;
  readonly l1Entries: number;
}

/**
 * The header in memory and in the file, always equal: memory follows a write that worked. Every change in place is one
 * write inside the first sector.
 */
export class HeaderArea {
  readonly #file: TrackedFile;
  #header: Header;
  #extensions: HeaderExtensions;
  #backingName: string | undefined;
  readonly geometry: Geometry;

  private constructor(parts: {
    readonly file: TrackedFile;
    readonly header: Header;
    readonly extensions: HeaderExtensions;
    readonly backingName: string | undefined;
  }) {
    this.#file = parts.file;
    this.#header = parts.header;
    this.#extensions = parts.extensions;
    this.#backingName = parts.backingName;
    this.geometry = headerGeometry(parts.header);
  }

  /**
   * Reads and judges the first cluster; faults of the format, and `feature-unknown` {bits, names} for incompatible
   * features that are unknown here. `forCheck` lets images in whose snapshot table or refcount table is broken.
   */
  static read(file: TrackedFile, use: { readonly forCheck: boolean }): HeaderArea {
    const start = new Uint8Array(Math.min(headerProbeLength, file.size));
    file.readAt(hostOffset(0), start);
    const clusterSize = 2 ** decodeHeaderBits(start);
    const cluster = new Uint8Array(Math.min(clusterSize, Math.max(file.size, headerProbeLength)));
    file.readAt(hostOffset(0), cluster);
    const header = decodeHeader(cluster.subarray(0, Math.min(cluster.length, file.size)));
    const whole = new Uint8Array(clusterSize);
    whole.set(cluster);
    const extensions = decodeExtensions(whole, {
      start: Math.min(header.length, areaEnd(header, clusterSize)),
      end: areaEnd(header, clusterSize),
    });
    refuseUnknownFeatures(header, extensions);
    judgeExtensions(extensions, {
      clusterSize,
      bitmapsConsistent: hasBit(header.autoclear, autoclearBits.bitmaps),
      luks: header.encryptionMethod === 2,
    });
    judgeTables(header, headerGeometry(header), use);
    const { backingNameOffset: nameAt, backingNameLength: nameLength } = header;
    const backingName = nameLength === 0 ? undefined : textOf(whole.subarray(nameAt, nameAt + nameLength));
    return new HeaderArea({ file, header, extensions, backingName });
  }

  get header(): Header {
    return this.#header;
  }

  get extensions(): HeaderExtensions {
    return this.#extensions;
  }

  /** The backing name as stored; undefined without one. */
  get backingName(): string | undefined {
    return this.#backingName;
  }

  /** Guest-visible bytes (FMT-06). */
  get virtualSize(): number {
    return virtualSizeOf(this.#header);
  }

  get isDirty(): boolean {
    return hasBit(this.#header.incompatible, incompatibleBits.dirty);
  }

  get isCorrupt(): boolean {
    return hasBit(this.#header.incompatible, incompatibleBits.corrupt);
  }

  get isLazy(): boolean {
    return hasBit(this.#header.compatible, compatibleBits.lazyRefcounts);
  }

  /** The data lies in another file (BIT-I2). */
  get hasDataFile(): boolean {
    return hasDataFile(this.#header);
  }

  /** The data file reads as the disk by itself (BIT-A1). */
  get isDataFileRaw(): boolean {
    return isDataFileRaw(this.#header);
  }

  get hasBitmaps(): boolean {
    return this.#extensions.bitmaps !== undefined && hasBit(this.#header.autoclear, autoclearBits.bitmaps);
  }

  /** Sets or clears an incompatible bit; version 2 has none. Not durable before the next flush. */
  setIncompatible(bit: 'dirty' | 'corrupt', on: boolean): void {
    assert(this.#header.version === 3, 'feature bits stand in version 3 headers');
    const incompatible = withBit(this.#header.incompatible, incompatibleBits[bit], on);
    const bytes = new Uint8Array(8);
    writeMask64(viewOf(bytes), 0, incompatible);
    this.#file.writeAt(hostOffset(incompatibleAt), bytes);
    this.#header = { ...this.#header, incompatible };
  }

  /** Clears the autoclear bits that nobody here keeps true (BIT-A2); `bitmaps` tells what becomes of bit 0. */
  setAutoclear(use: { readonly bitmaps: boolean }): void {
    const known = { high: 0, low: this.#header.autoclear.low & (1 << autoclearBits.rawExternalData) };
    const autoclear = withBit(known, autoclearBits.bitmaps, use.bitmaps);
    const bytes = new Uint8Array(8);
    writeMask64(viewOf(bytes), 0, autoclear);
    this.#file.writeAt(hostOffset(autoclearAt), bytes);
    this.#header = { ...this.#header, autoclear };
  }

  /** Whether autoclear bits are set that a writer must clear. */
  get hasUnknownAutoclear(): boolean {
    const known: readonly number[] = Object.values(autoclearBits);
    return bitsOf(this.#header.autoclear).some((bit) => !known.includes(bit));
  }

  /** Disk size and active L1 table in one write (ORD-06, ORD-15): before it the old state holds, after it the new. */
  switchDisk(disk: DiskSwitch): void {
    const header = {
      ...this.#header,
      size: disk.virtualSize,
      l1TableOffset: disk.l1TableOffset,
      l1Entries: disk.l1Entries,
    };
    // Size, encryption method and L1 pointer stand in a row.
    const encoded = encodeHeader(header);
    this.#file.writeAt(hostOffset(sizeAt), encoded.subarray(sizeAt, refcountTableAt));
    this.#header = header;
  }

  /** Refcount table pointer and length in one write (ORD-08). */
  switchRefcountTable(table: { readonly offset: HostOffset; readonly clusters: number }): void {
    const bytes = new Uint8Array(12);
    writeUint64(viewOf(bytes), 0, table.offset);
    viewOf(bytes).setUint32(8, table.clusters);
    this.#file.writeAt(hostOffset(refcountTableAt), bytes);
    this.#header = {
      ...this.#header,
      refcountTableOffset: table.offset,
      refcountTableClusters: table.clusters,
    };
  }

  /** Snapshot count and table pointer in one write (FMT-09, ORD-09). */
  switchSnapshots(table: { readonly offset: HostOffset; readonly count: number }): void {
    const bytes = new Uint8Array(12);
    viewOf(bytes).setUint32(0, table.count);
    writeUint64(viewOf(bytes), 4, table.offset);
    this.#file.writeAt(hostOffset(snapshotsAt), bytes);
    this.#header = { ...this.#header, snapshotsOffset: table.offset, snapshotCount: table.count };
  }

  /**
   * The bitmaps extension names another directory, or none: a single write where the extension lies in one sector. Else
   * the autoclear bit goes first and comes back last, so that a crash between leaves the bitmaps lost, never wrong
   * (ORD-14). Durable after the next flush. Fault `header-full` when a new extension finds no room; nothing is changed.
   */
  switchBitmaps(extension: BitmapsExtension | undefined): void {
    const place = placeOfBitmaps(this.#readCluster(), this.#extensionArea);
    if (extension === undefined) {
      this.#dropBitmaps(place);
      return;
    }
    const at = place.at ?? this.#makeRoom(place.end);
    const data = encodeBitmaps(extension);
    const dataAt = at + bitmapsHeadLength;
    const isOneSector = Math.floor(dataAt / sectorSize) === Math.floor((dataAt + data.length - 1) / sectorSize);
    if (this.hasBitmaps && isOneSector) {
      this.#file.writeAt(hostOffset(dataAt), data);
      this.#extensions = { ...this.#extensions, bitmaps: extension };
      return;
    }
    if (this.hasBitmaps) {
      this.setAutoclear({ bitmaps: false });
      this.#file.flush();
    }
    this.#file.writeAt(hostOffset(dataAt), data);
    this.#file.flush();
    if (place.at === undefined) {
      this.#file.writeAt(hostOffset(at), bitmapsExtensionHead());
      this.#file.flush();
    }
    this.#extensions = { ...this.#extensions, bitmaps: extension };
    this.setAutoclear({ bitmaps: true });
  }

  /** Without the bit nobody looks at the extension; one that is the last becomes the end marker. */
  #dropBitmaps(place: BitmapsExtensionPlace): void {
    if (place.at === undefined) return;
    this.setAutoclear({ bitmaps: false });
    this.#file.flush();
  }

  /**
   * Takes away what is left of the extension when {@link switchBitmaps} has dropped the bitmaps. They are gone by then,
   * whether this succeeds or not.
   */
  wipeBitmaps(): void {
    const place = placeOfBitmaps(this.#readCluster(), this.#extensionArea);
    if (place.at === undefined || !place.isLast) return;
    this.#file.writeAt(hostOffset(place.at), new Uint8Array(bitmapsHeadLength));
    this.#extensions = { ...this.#extensions, bitmaps: undefined };
  }

  /**
   * Makes room for the bitmaps extension and a new end marker at `end`, where the end marker lies now. A backing name that
   * is in the way is copied behind first, and then named in one write.
   */
  #makeRoom(end: number): number {
    const { clusterSize } = this.geometry;
    const { backingNameOffset: nameAt, backingNameLength: nameLength } = this.#header;
    const roomEnd = end + bitmapsHeadLength + bitmapsExtensionLength + bitmapsHeadLength;
    const isInWay = nameAt !== 0 && nameAt < roomEnd;
    const newNameAt = isInWay ? alignUp(Math.max(roomEnd, nameAt + nameLength), 8) : nameAt;
    const required = Math.max(roomEnd, isInWay ? newNameAt + nameLength : 0);
    if (required > clusterSize || (isInWay && nameAt < end + bitmapsHeadLength)) {
      throw new Fault('header-full', { required, available: clusterSize });
    }
    if (isInWay) {
      const cluster = this.#readCluster();
      this.#file.writeAt(hostOffset(newNameAt), cluster.subarray(nameAt, nameAt + nameLength));
      this.#file.flush();
      const bytes = new Uint8Array(8);
      writeUint64(viewOf(bytes), 0, newNameAt);
      this.#file.writeAt(hostOffset(backingNameAt), bytes);
      this.#file.flush();
      this.#header = { ...this.#header, backingNameOffset: newNameAt };
    }
    this.#file.writeAt(hostOffset(roomEnd - bitmapsHeadLength), new Uint8Array(bitmapsHeadLength));
    return end;
  }

  #readCluster(): Uint8Array {
    const { clusterSize } = this.geometry;
    const cluster = new Uint8Array(clusterSize);
    this.#file.readAt(hostOffset(0), cluster.subarray(0, Math.min(clusterSize, this.#file.size)));
    return cluster;
  }

  get #extensionArea(): { readonly start: number; readonly end: number } {
    const { clusterSize } = this.geometry;
    const end = areaEnd(this.#header, clusterSize);
    return { start: Math.min(this.#header.length, end), end };
  }

  /**
   * Another backing name and format, or none (FMT-12, OPS-35). Unknown fields and extensions stay. Durable when it
   * returns; a crash leaves the old one or the new one. Fault `header-full`, and nothing is changed then.
   */
  rewriteBacking(backing: { readonly fileName: string; readonly format: string } | undefined): void {
    this.rewrite({
      header: this.#header,
      extensions: { ...this.#extensions, backingFormat: backing?.format },
      backingName: backing?.fileName,
    });
  }

  /** Whether {@link rewriteBacking} would find room: fault `header-full`. */
  judgeBacking(backing: { readonly fileName: string; readonly format: string } | undefined): void {
    const extensions = { ...this.#extensions, backingFormat: backing?.format };
    const content = { header: this.#header, extensions, backingName: backing?.fileName };
    layOutHeader(content, { taken: [], nameAt: undefined });
  }

  /**
   * Says something else from now on, all at once: durable when it returns, and a crash leaves the old content or the new
   * one. Where the geometry changes, the image is to be opened anew. Fault `header-full`, and nothing is changed then.
   */
  rewrite(to: HeaderContent): void {
    this.#header = rewriteHeader(this.#file, this.#changeTo(to));
    this.#extensions = to.extensions;
    this.#backingName = to.backingName;
  }

  /** Fault `header-full` where {@link rewrite} would find no room. */
  admitContent(to: HeaderContent): void {
    planRewrite(this.#changeTo(to));
  }

  #changeTo(to: HeaderContent): HeaderChange {
    const content = { header: this.#header, extensions: this.#extensions, backingName: this.#backingName };
    return { from: foundHeader(this.#readCluster(), this.#header), content, to };
  }
}

/** The extension area ends where the backing name starts, or with the cluster (FMT-10). */
function areaEnd(header: Header, clusterSize: number): number {
  return header.backingNameOffset === 0 ? clusterSize : header.backingNameOffset;
}

/** The cluster bits of a header that is good so far; faults of the format. */
function decodeHeaderBits(start: Uint8Array): number {
  if (start.length >= 24) {
    const clusterBits = viewOf(start).getUint32(20);
    const headerLength = start.length >= 104 ? viewOf(start).getUint32(100) : 0;
    // A header longer than what was read is decoded from the whole cluster below; all else faults here.
    if (headerLength > start.length && clusterBits > 9 && clusterBits <= 21) return clusterBits;
  }
  return decodeHeader(start).clusterBits;
}

/** BIT-I5: a reader must not touch what it does not understand; the image's own names tell a person what it is. */
function refuseUnknownFeatures(header: Header, extensions: HeaderExtensions): void {
  const bits = unknownIncompatibleBits(header.incompatible);
  if (bits.length === 0) return;
  const names = bits.map(
    (bit) => extensions.featureNames.find((row) => row.type === 0 && row.bit === bit)?.name ?? `bit ${String(bit)}`,
  );
  throw new Fault('feature-unknown', { bits, names });
}
