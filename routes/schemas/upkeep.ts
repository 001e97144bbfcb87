// Check reports and image information on the wire: qemu-img's words in camelCase.

import { z } from 'zod';

import type {
  CheckReport as ReportValue,
  ImageInfo as InfoValue,
  SnapshotDescription,
} from '../../src/services/services.ts';
import { DecimalString, Size } from './common.ts';
import { EncryptionInfo, printEncryption } from './encryption.ts';
import { Compat, CompressionType } from './images.ts';

export const CheckImage = z
  .strictObject({
    repair: z
      .enum(['none', 'leaks', 'all'])
      .default('none')
      .meta({ description: 'All but `none` asks for the scope `write`' }),
  })
  .meta({ id: 'CheckImage' });

export const CheckFinding = z
  .object({
    kind: z.enum(['corruption', 'leak', 'check-error']),
    guestOffset: Size.optional(),
    hostOffset: Size.optional(),
    message: z.string(),
  })
  .meta({ id: 'CheckFinding' });

export const CheckReport = z
  .object({
    checkErrors: Size,
    corruptions: Size,
    leaks: Size,
    corruptionsFixed: Size,
    leaksFixed: Size,
    imageEndOffset: Size,
    totalClusters: Size,
    allocatedClusters: Size,
    fragmentedClusters: Size,
    compressedClusters: Size,
    clean: z.boolean().meta({ description: 'No corruptions, leaks or check errors are left' }),
    findings: z.array(CheckFinding).meta({ description: 'The first 100' }),
  })
  .meta({ id: 'CheckReport', description: 'A bad image is a successful check with bad news' });

/** A report as the wire has it. */
export function printReport(report: ReportValue): z.input<typeof CheckReport> {
  return { ...report, findings: report.findings.map((finding) => ({ ...finding })) };
}

export const InfoSnapshot = z
  .object({
    id: z.string(),
    name: z.string(),
    vmStateSize: Size,
    dateSec: Size,
    dateNsec: Size,
    vmClockSec: Size,
    vmClockNsec: Size,
    icount: DecimalString.optional(),
  })
  .meta({ id: 'InfoSnapshot' });

export const InfoBitmap = z
  .object({ name: z.string(), granularity: Size, flags: z.array(z.enum(['in-use', 'auto'])) })
  .meta({ id: 'InfoBitmap' });

export const FormatSpecificData = z
  .object({
    compat: Compat,
    compressionType: CompressionType,
    refcountBits: z.int(),
    lazyRefcounts: z.boolean().optional(),
    corrupt: z.boolean().optional(),
    extendedL2: z.boolean().optional(),
    dataFile: z.string().optional().meta({ description: 'The external data file, as the image names it' }),
    dataFileRaw: z.boolean().optional().meta({ description: 'Whether the data file reads as the disk by itself' }),
    encrypt: EncryptionInfo.optional(),
    bitmaps: z
      .array(InfoBitmap)
      .optional()
      .meta({ description: 'The first 1000; the list of bitmaps has all of them, page by page' }),
  })
  .meta({ id: 'FormatSpecificData' });

export const FormatSpecific = z
  .object({ type: z.literal('qcow2'), data: FormatSpecificData })
  .meta({ id: 'FormatSpecific' });

export const ImageLimits = z
  .object({
    requestAlignment: Size.meta({ description: 'Any offset and length is taken' }),
    optimalTransfer: Size.meta({ description: 'What is read and written best: a cluster' }),
    zeroAlignment: Size.meta({ description: 'What zeroing acts on without writing bytes' }),
    discardAlignment: Size.meta({ description: 'Discards act on whole clusters' }),
    virtualSizeMax: Size.meta({ description: 'The largest disk with clusters of this size' }),
    snapshotCountMax: Size,
    bitmapCountMax: Size.meta({ description: '0 for `compat` 0.10' }),
  })
  .meta({ id: 'ImageLimits' });

export const CacheInfo = z
  .object({
    bytes: Size.meta({ description: 'What it keeps now' }),
    bytesMax: Size.meta({ description: 'The most that it keeps' }),
    entryBytes: Size.meta({ description: 'What is read and written at once' }),
    hits: Size,
    misses: Size,
    hitRate: z
      .number()
      .min(0)
      .max(1)
      .optional()
      .meta({ description: 'Hits of all; left out while nothing was asked for' }),
  })
  .meta({ id: 'CacheInfo', description: 'Hits and misses count from the opening of the file' });

export const ImageCaches = z
  .object({
    l2: CacheInfo.meta({ description: 'Where guest clusters lie' }),
    refcounts: CacheInfo.optional().meta({ description: 'Only while the file is open for writing' }),
  })
  .meta({ id: 'ImageCaches' });

const OverlapAreas = z
  .strictObject({
    mainHeader: z.boolean().optional(),
    activeL1: z.boolean().optional(),
    activeL2: z.boolean().optional(),
    refcountTable: z.boolean().optional(),
    refcountBlock: z.boolean().optional(),
    snapshotTable: z.boolean().optional(),
    inactiveL1: z.boolean().optional(),
    inactiveL2: z.boolean().optional(),
    bitmapDirectory: z.boolean().optional(),
  })
  .meta({ id: 'OverlapAreas', description: "QEMU's names in camelCase; what is left out is as before" });

export const UpdateRuntime = z
  .strictObject({
    l2CacheBytes: Size.optional().meta({
      description: 'The most that L2 tables take in memory, and never more than the disk needs; 16 entries or more',
    }),
    l2CacheEntryBytes: Size.optional().meta({
      description: 'What of an L2 table is read at once: a power of two from 512 to the cluster size',
    }),
    refcountCacheBytes: Size.optional().meta({ description: 'The most that refcounts take in memory' }),
    cacheBytes: Size.optional().meta({
      description:
        'The most that both take; L2 tables have all that they can use, and refcounts the rest. Takes the place of sizes that were given before; beside it at most one of the two may be given, which is a part of it',
    }),
    cacheCleanSeconds: Size.optional().meta({
      description:
        'How long unused entries are kept, those of the layers below, too; 0, unless said otherwise, for as long as there is room',
    }),
    lazyRefcounts: z.boolean().optional().meta({ description: 'Whatever the header says' }),
    overlapCheck: z.enum(['none', 'constant', 'cached', 'all']).optional().meta({
      description:
        'Which tables changes are kept from, as QEMU names them; `cached` unless said otherwise. `all` reads the tables of every snapshot after each change of the snapshots',
    }),
    overlapAreas: OverlapAreas.optional().meta({
      description: 'Tables that are guarded, or not, whatever `overlapCheck` says; a new one of those ends them',
    }),
    passDiscard: z.boolean().optional().meta({ description: 'Whether discarded space goes back to the host' }),
    discardNoUnref: z
      .boolean()
      .optional()
      .meta({ description: 'Whether discarded clusters keep their place; not for `compat` 0.10' }),
  })
  .meta({ id: 'UpdateRuntime', description: 'What is left out stays as it is; QCOWD_CACHE_BYTES bounds all caches' });

export const ImageInfo = z
  .object({
    virtualSize: Size,
    filename: z.string(),
    clusterSize: Size,
    format: z.literal('qcow2'),
    encrypted: z.literal(true).optional(),
    actualSize: Size,
    dirtyFlag: z.boolean(),
    backingFilename: z.string().optional(),
    fullBackingFilename: z.string().optional(),
    backingFilenameFormat: z.string().optional(),
    snapshotCount: Size.meta({ description: 'How many there are, also where `snapshots` has not all of them' }),
    snapshots: z
      .array(InfoSnapshot)
      .optional()
      .meta({ description: 'The first 1000; the list of snapshots has all of them, page by page' }),
    formatSpecific: FormatSpecific,
    caches: ImageCaches,
    limits: ImageLimits,
  })
  .meta({ id: 'ImageInfo', description: 'What `qemu-img info --output=json` tells, in camelCase' });

/** What an image tells of itself, as the wire has it; qemu-img leaves the same members out. */
export function printInfo({ fileName, description, inspection, snapshots }: InfoValue): z.input<typeof ImageInfo> {
  const { backingFileName, backingFormat } = description;
  return {
    virtualSize: description.virtualSize,
    filename: fileName,
    clusterSize: description.clusterSize,
    format: 'qcow2',
    ...(description.encryption === undefined ? {} : { encrypted: true }),
    actualSize: description.allocatedSize,
    dirtyFlag: description.dirty,
    ...(backingFileName === undefined
      ? {}
      : { backingFilename: backingFileName, fullBackingFilename: backingFileName }),
    ...(backingFormat === undefined ? {} : { backingFilenameFormat: backingFormat }),
    snapshotCount: description.snapshotCount,
    ...(snapshots.length === 0 ? {} : { snapshots: snapshots.map(printInfoSnapshot) }),
    formatSpecific: { type: 'qcow2', data: printFormatSpecific(description, inspection) },
    caches: {
      l2: printCache(inspection.caches.l2),
      ...(inspection.caches.refcounts === undefined ? {} : { refcounts: printCache(inspection.caches.refcounts) }),
    },
    limits: { requestAlignment: 1, ...inspection.limits },
  };
}

function printFormatSpecific(
  description: InfoValue['description'],
  { bitmaps }: InfoValue['inspection'],
): z.input<typeof FormatSpecificData> {
  const { compat, compressionType, refcountBits, lazyRefcounts, corrupt, extendedL2, encryption } = description;
  const { dataFileName, dataFileRaw } = description;
  const encrypt = encryption === undefined ? {} : { encrypt: printEncryption(encryption) };
  if (compat === '0.10') return { compat, compressionType, refcountBits, ...encrypt };
  const listed = bitmaps.length === 0 ? {} : { bitmaps: bitmaps.map(printInfoBitmap) };
  const external = {
    ...(dataFileName === undefined ? {} : { dataFile: dataFileName }),
    ...(dataFileRaw === undefined ? {} : { dataFileRaw }),
  };
  const own = { compat, compressionType, refcountBits, lazyRefcounts, corrupt, extendedL2 };
  return { ...own, ...external, ...listed, ...encrypt };
}

function printInfoBitmap(bitmap: InfoValue['inspection']['bitmaps'][number]): z.input<typeof InfoBitmap> {
  const { name, granularity, enabled, inconsistent } = bitmap;
  const flags = [...(inconsistent ? (['in-use'] as const) : []), ...(enabled ? (['auto'] as const) : [])];
  return { name, granularity, flags };
}

function printCache(figures: InfoValue['inspection']['caches']['l2']): z.input<typeof CacheInfo> {
  const { length, lengthMax, sliceLength, hits, misses } = figures;
  const rate = hits + misses === 0 ? {} : { hitRate: hits / (hits + misses) };
  return { bytes: length, bytesMax: lengthMax, entryBytes: sliceLength, hits, misses, ...rate };
}

function printInfoSnapshot(snapshot: SnapshotDescription): z.input<typeof InfoSnapshot> {
  const digits = snapshot.vmClockNanoseconds.padStart(nanosecondDigits + 1, '0');
  const split = digits.length - nanosecondDigits;
  return {
    id: snapshot.id,
    name: snapshot.name,
    vmStateSize: snapshot.vmStateSize,
    dateSec: snapshot.createdAtSeconds,
    dateNsec: snapshot.createdAtNanoseconds,
    vmClockSec: Number(digits.slice(0, split)),
    vmClockNsec: Number(digits.slice(split)),
    ...(snapshot.icount === undefined ? {} : { icount: snapshot.icount }),
  };
}

const nanosecondDigits = 9;
