// Judges a file from outside before anybody may use it, and makes it sound (http-api §7, the ingest gate).

import { Fault } from '../../base/fault.ts';
import type { ByteFile } from '../file/byte-file.ts';
import type { FileLocks } from '../file/node-file.ts';
import { TrackedFile } from '../file/tracked-file.ts';
import { hasBit, incompatibleBits } from '../format/features.ts';
import type { BackingFile } from '../layer/open-gate.ts';
import { HeaderArea } from '../metadata/header-area.ts';
import { check } from './check.ts';
import type { CheckReport, RepairMode } from './check-report.ts';
import { describe } from './describe.ts';
import type { ImageDescription } from './image-description.ts';
import { openBacking, readParts } from './open.ts';
import { repair } from './repair.ts';
import type { Steps } from './steps.ts';
import { judgeEncryption } from './unlock.ts';

/** One reason why a file is not taken in: a code of the fault table, and its facts. */
export interface Violation {
  readonly code: string;
  readonly [fact: string]: unknown;
}

export interface AdmitWish {
  /** What the file's backing name stands for; undefined: it must not have one. */
  readonly backing: BackingFile | undefined;
  /** The chain below `backing`, nearest first. */
  readonly below: readonly BackingFile[];
  /** Leaks and the dirty bit are mended unless `none`; `all` mends what can be mended. */
  readonly repair: RepairMode;
  /** For the files below. */
  readonly locks: FileLocks;
}

export interface Admitted {
  readonly description: ImageDescription;
  readonly report: CheckReport;
}

/** Fault `unsafe-image` with `violations`, and the `report` where a check came that far. */
export function* admit(untracked: ByteFile, wish: AdmitWish): Steps<Admitted> {
  const file = new TrackedFile(untracked);
  const header = judgeHeader(file, wish);
  const report = yield* makeSound(file, header, wish.repair);
  if (wish.backing !== undefined) {
    const { fileName, format } = wish.backing;
    const area = HeaderArea.read(file, { forCheck: false });
    area.rewriteBacking({ fileName, format });
  }
  file.flush();
  const chain = wish.backing === undefined ? [] : [wish.backing, ...wish.below];
  const area = HeaderArea.read(file, { forCheck: false });
  const backing = openBacking(area, chain, {
    locks: wish.locks,
    caches: undefined,
    cleaning: undefined,
    keys: undefined,
    depth: 1,
  });
  try {
    return { description: describe(refusing(() => readParts(file, area, { backing, dataFile: undefined }))), report };
  } finally {
    backing?.close();
  }
}

/** Everything that the first cluster alone can say against a file, and the LUKS header that it names. */
function judgeHeader(file: TrackedFile, wish: AdmitWish): HeaderArea {
  const header = refusing(() => HeaderArea.read(file, { forCheck: true }));
  const violations: Violation[] = [];
  const { backingName } = header;
  if (backingName !== undefined && wish.backing === undefined) {
    violations.push({ code: 'backing-refused', fileName: backingName });
  }
  if (hasBit(header.header.incompatible, incompatibleBits.externalDataFile)) {
    violations.push({ code: 'data-file-refused', dataFile: header.extensions.dataFileName });
  }
  violations.push(...violationsOf(() => judgeEncryption({ file, header })));
  if (header.isCorrupt && wish.repair !== 'all') violations.push({ code: 'image-marked-corrupt' });
  if (violations.length > 0) throw new Fault('unsafe-image', { violations });
  if (backingName === undefined && wish.backing !== undefined) {
    throw new Fault('unsupported-option', { option: 'backing', reason: 'the file names no backing file' });
  }
  return header;
}

function* makeSound(file: ByteFile, header: HeaderArea, mode: RepairMode): Steps<CheckReport> {
  const found = yield* check(file);
  // A dirty image may have refcounts that are too low: that is what the dirty bit says (BIT-I0), and mended with it.
  const mayMendAll = mode === 'all' || header.isDirty;
  const broken = found.corruptions > 0 || found.checkErrors > 0 || header.isCorrupt;
  if (broken && !mayMendAll) throw unsafe(found);
  if (!broken && found.leaks === 0 && !header.isDirty) return found;
  if (mode === 'none') return found;
  const report = yield* repair(file, broken || header.isDirty ? 'all' : 'leaks');
  if (!report.clean) throw unsafe(report);
  return report;
}

function unsafe(report: CheckReport): Fault {
  return new Fault('unsafe-image', {
    violations: [{ code: 'image-corrupt', corruptions: report.corruptions, checkErrors: report.checkErrors }],
    report,
  });
}

/** What the format codecs refuse is a violation. */
function refusing<Value>(read: () => Value): Value {
  try {
    return read();
  } catch (error) {
    throw new Fault('unsafe-image', { violations: [violationOf(error)] });
  }
}

/** The one that a judge throws, if any. */
function violationsOf(judge: () => void): readonly Violation[] {
  try {
    judge();
    return [];
  } catch (error) {
    return [violationOf(error)];
  }
}

/** Anything but a refusal of the format is somebody else's. */
function violationOf(error: unknown): Violation {
  if (!(error instanceof Fault) || (error.kind !== 'corrupt' && error.kind !== 'unsupported')) throw error;
  return { code: error.code, ...error.context };
}
