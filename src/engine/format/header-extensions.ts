// Header extensions: what follows the fixed header in the first cluster (section "Header extensions").

import { assert } from '../../base/assert.ts';
import { Fault } from '../../base/fault.ts';
import { alignUp, countMax } from '../../base/integers.ts';
import { readUint64, viewOf, writeUint64 } from './big-endian.ts';
import { featureNames } from './features.ts';
import type { FeatureName } from './features.ts';
import { hostOffset } from './offsets.ts';
import type { HostOffset } from './offsets.ts';

const extensionEnd = 0;
const extensionBackingFormat = 0xe279_2aca;
const extensionFeatureNames = 0x6803_f857;
const extensionBitmaps = 0x2385_2875;
const extensionEncryption = 0x0537_be77;
const extensionDataFile = 0x4441_5441;

/** LIM-08: QEMU refuses a format name of 16 bytes. */
const backingFormatLengthMax = 15;
const featureNameRowLength = 48;
/** QEMU leaves the name table out for clusters of 4 KiB and less (EXT-02, T65). */
const featureNamesClusterMin = 8192;
/** Nobody writes more than a handful; a cluster of 2 MiB could hold 262,144 empty ones. */
export const extensionCountMax = 4096;
/** EXT-03. */
export const bitmapCountMax = 65_535;
export const bitmapDirectoryLengthMax = 1024 * 65_535;

/** Where the bitmap directory lies (EXT-03); lengths in bytes. */
export interface BitmapsExtension {
  readonly count: number;
  /** Zero in every sound image. */
  readonly reserved: number;
  readonly directoryLength: number;
  readonly directoryOffset: HostOffset;
}

/** Where the LUKS header lies (EXT-04). */
export interface EncryptionExtension {
  readonly offset: HostOffset;
  readonly length: number;
}

export interface UnknownExtension {
  readonly type: number;
  readonly data: Uint8Array;
}

/** All extensions of one header. The feature name table is made anew at each write (EXT-02). */
export interface HeaderExtensions {
  readonly backingFormat: string | undefined;
  readonly featureNames: readonly FeatureName[];
  readonly bitmaps: BitmapsExtension | undefined;
  readonly encryption: EncryptionExtension | undefined;
  readonly dataFileName: string | undefined;
  readonly unknown: readonly UnknownExtension[];
}

export const noExtensions: HeaderExtensions = {
  backingFormat: undefined,
  featureNames: [],
  bitmaps: undefined,
  encryption: undefined,
  dataFileName: undefined,
  unknown: [],
};

/** Decodes the area from `start` to `end` of the first cluster (EXT-00). Fault `extension-invalid`. */
export function decodeExtensions(
  cluster: Uint8Array,
  area: { readonly start: number; readonly end: number },
): HeaderExtensions {
  assert(area.start <= area.end && area.end <= cluster.length, 'the extension area lies in the first cluster');
  const view = viewOf(cluster);
  let found: HeaderExtensions = noExtensions;
  const unknown: UnknownExtension[] = [];
  let count = 0;
  let at = area.start;
  while (at + 8 <= area.end) {
    const type = view.getUint32(at);
    const length = view.getUint32(at + 4);
    at += 8;
    // Of the end marker, too: QEMU does not open an image in which it reaches too far.
    if (length > area.end - at) throw new Fault('extension-invalid', { type, length, reason: 'too large' });
    if (type === extensionEnd) break;
    count += 1;
    if (count > extensionCountMax) throw new Fault('extension-invalid', { type, reason: 'too many' });
    const data = cluster.slice(at, at + length);
    const known = knownExtension(type, data);
    if (known === undefined) unknown.push({ type, data });
    else found = { ...found, ...known };
    at += alignUp(length, 8);
  }
  return { ...found, unknown };
}

/** Bytes of the bitmaps extension behind its type and length. */
export const bitmapsExtensionLength = 24;

/** Where the bitmaps extension lies in the first cluster. */
export interface BitmapsExtensionPlace {
  /** Its type and length; undefined without one. */
  readonly at: number | undefined;
  /** Whether only the end marker follows. */
  readonly isLast: boolean;
  /** Where the end marker is. */
  readonly end: number;
}

/** Finds the bitmaps extension in an area that can be decoded. */
export function placeOfBitmaps(
  cluster: Uint8Array,
  area: { readonly start: number; readonly end: number },
): BitmapsExtensionPlace {
  const view = viewOf(cluster);
  let found: number | undefined;
  let last = area.start;
  let at = area.start;
  while (at + 8 <= area.end && view.getUint32(at) !== extensionEnd) {
    if (view.getUint32(at) === extensionBitmaps) found = at;
    last = at;
    at += 8 + alignUp(view.getUint32(at + 4), 8);
  }
  return { at: found, isLast: found === last, end: at };
}

/** Where an area that can be decoded ends: behind its end marker, or where it has no more room. */
export function endOfExtensions(cluster: Uint8Array, area: { readonly start: number; readonly end: number }): number {
  return Math.min(area.end, placeOfBitmaps(cluster, area).end + 8);
}

function knownExtension(type: number, data: Uint8Array): Partial<HeaderExtensions> | undefined {
  switch (type) {
    case extensionBackingFormat:
      if (data.length > backingFormatLengthMax) throw new Fault('extension-invalid', { type, length: data.length });
      return { backingFormat: textOf(data) };
    case extensionFeatureNames:
      return { featureNames: decodeFeatureNames(data) };
    case extensionBitmaps:
      return { bitmaps: decodeBitmaps(data) };
    case extensionEncryption:
      return { encryption: decodeEncryption(data) };
    case extensionDataFile:
      return { dataFileName: textOf(data) };
    default:
      return undefined;
  }
}

function decodeFeatureNames(data: Uint8Array): readonly FeatureName[] {
  const rows: FeatureName[] = [];
  for (let at = 0; at + featureNameRowLength <= data.length; at += featureNameRowLength) {
    const row = data.subarray(at, at + featureNameRowLength);
    const name = row.subarray(2);
    const end = name.indexOf(0);
    rows.push({ type: row[0] ?? 0, bit: row[1] ?? 0, name: textOf(end < 0 ? name : name.subarray(0, end)) });
  }
  return rows;
}

function decodeBitmaps(data: Uint8Array): BitmapsExtension {
  if (data.length !== bitmapsExtensionLength)
    throw new Fault('extension-invalid', { type: extensionBitmaps, length: data.length });
  const view = viewOf(data);
  return {
    count: view.getUint32(0),
    reserved: view.getUint32(4),
    directoryLength: readUint64(view, 8, 'bitmap_directory_size'),
    directoryOffset: hostOffset(readUint64(view, 16, 'bitmap_directory_offset')),
  };
}

function decodeEncryption(data: Uint8Array): EncryptionExtension {
  if (data.length !== 16) throw new Fault('extension-invalid', { type: extensionEncryption, length: data.length });
  const view = viewOf(data);
  return {
    offset: hostOffset(readUint64(view, 0, 'encryption offset')),
    length: readUint64(view, 8, 'encryption length'),
  };
}

/** What the header says that decides which extensions may be there and which count. */
export interface ExtensionUse {
  readonly clusterSize: number;
  /** Autoclear bit 0: without it the bitmaps are lost and their extension is ignored (BIT-A0). */
  readonly bitmapsConsistent: boolean;
  readonly luks: boolean;
}

/** Judges the extensions against their limits (EXT-03, EXT-04). Fault `extension-invalid`. */
export function judgeExtensions(extensions: HeaderExtensions, use: ExtensionUse): void {
  const { bitmaps, encryption } = extensions;
  if (encryption !== undefined && (!use.luks || encryption.offset % use.clusterSize !== 0)) {
    throw new Fault('extension-invalid', { type: extensionEncryption, hostOffset: encryption.offset, luks: use.luks });
  }
  if (bitmaps === undefined || !use.bitmapsConsistent) return;
  const { count, reserved, directoryLength, directoryOffset } = bitmaps;
  const isCountSound = count >= 1 && count <= bitmapCountMax && reserved === 0;
  const isLengthSound = directoryLength >= 1 && directoryLength <= bitmapDirectoryLengthMax;
  const isPlaceSound =
    directoryOffset > 0 && directoryOffset % use.clusterSize === 0 && directoryOffset <= countMax - directoryLength;
  if (!isCountSound || !isLengthSound || !isPlaceSound) {
    throw new Fault('extension-invalid', {
      type: extensionBitmaps,
      count,
      directoryLength,
      hostOffset: directoryOffset,
    });
  }
}

/**
 * Encodes all extensions and the end marker in QEMU's order (FMT-12). `named`: whether the feature name table is
 * written (version 3 only, clusters above 4 KiB).
 */
export function encodeExtensions(extensions: HeaderExtensions, options: { readonly named: boolean }): Uint8Array {
  const parts: Uint8Array[] = [];
  const add = (type: number, data: Uint8Array): void => {
    const part = new Uint8Array(8 + alignUp(data.length, 8));
    viewOf(part).setUint32(0, type);
    viewOf(part).setUint32(4, data.length);
    part.set(data, 8);
    parts.push(part);
  };
  if (extensions.backingFormat !== undefined) add(extensionBackingFormat, bytesOf(extensions.backingFormat));
  if (extensions.dataFileName !== undefined) add(extensionDataFile, bytesOf(extensions.dataFileName));
  if (extensions.encryption !== undefined) add(extensionEncryption, encodePair(extensions.encryption));
  if (options.named) add(extensionFeatureNames, encodeFeatureNames());
  if (extensions.bitmaps !== undefined) add(extensionBitmaps, encodeBitmaps(extensions.bitmaps));
  for (const { type, data } of extensions.unknown) add(type, data);
  add(extensionEnd, new Uint8Array(0));
  return joined(parts);
}

/** Whether an image of this version and cluster size carries the feature name table. */
export function namesFeatures(version: 2 | 3, clusterSize: number): boolean {
  return version === 3 && clusterSize >= featureNamesClusterMin;
}

function encodePair(extension: EncryptionExtension): Uint8Array {
  const data = new Uint8Array(16);
  writeUint64(viewOf(data), 0, extension.offset);
  writeUint64(viewOf(data), 8, extension.length);
  return data;
}

/** Type and length of the bitmaps extension. */
export function bitmapsExtensionHead(): Uint8Array {
  const head = new Uint8Array(8);
  viewOf(head).setUint32(0, extensionBitmaps);
  viewOf(head).setUint32(4, bitmapsExtensionLength);
  return head;
}

export function encodeBitmaps(extension: BitmapsExtension): Uint8Array {
  const data = new Uint8Array(bitmapsExtensionLength);
  viewOf(data).setUint32(0, extension.count);
  viewOf(data).setUint32(4, extension.reserved);
  writeUint64(viewOf(data), 8, extension.directoryLength);
  writeUint64(viewOf(data), 16, extension.directoryOffset);
  return data;
}

function encodeFeatureNames(): Uint8Array {
  const data = new Uint8Array(featureNames.length * featureNameRowLength);
  featureNames.forEach(({ type, bit, name }, index) => {
    data.set([type, bit], index * featureNameRowLength);
    data.set(bytesOf(name), index * featureNameRowLength + 2);
  });
  return data;
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

const decoder = new TextDecoder('utf-8', { ignoreBOM: true });

/** UTF-8 text of a name field; bytes that are none become replacement characters and so never match a real name. */
export function textOf(bytes: Uint8Array): string {
  return decoder.decode(bytes);
}

export function bytesOf(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}
