// What the guest must see, by QEMU's word: bytes through qemu-img convert and dd, extents through qemu-img map.

import assert from 'node:assert/strict';
import { closeSync, copyFileSync, openSync, readFileSync, readSync, rmSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';

import type { ExtentItem, ExtentPage, ExtentQuery } from '../../src/engine/image.ts';
import { guestOffset } from '../../src/engine/format/offsets.ts';
import type { GuestOffset } from '../../src/engine/format/offsets.ts';
import { Prng } from './prng.ts';
import { infoJson, mapJson, qemuImg } from './qemu-img.ts';
import type { MapRun } from './qemu-img.ts';

/** Something that reads like a disk. */
export interface ReadableDisk {
  readonly size: number;
  readonly read: (offset: GuestOffset, target: Uint8Array) => void;
}

/** A stretch of the map without host offsets; preallocated data counts as data. */
export interface PlainRun {
  readonly offset: number;
  readonly length: number;
  readonly kind: ExtentItem['kind'];
  readonly depth: number;
  /** Data that was never written. */
  readonly preallocated: boolean;
  /** Where the run begins in its layer's file, if it has a place there. */
  readonly host: number | undefined;
}

/** Compares every byte of the disk with `qemu-img convert -O raw`, front to back and then at odd spans. */
export function assertReadsLike(disk: ReadableDisk, qcow2Path: string): void {
  const rawPath = `${qcow2Path}.raw`;
  qemuImg('convert', '-q', '-f', 'qcow2', '-O', 'raw', qcow2Path, rawPath);
  const raw = openSync(rawPath, 'r');
  try {
    assert.equal(disk.size, statSync(rawPath).size, 'the disk has the size that qemu-img converts');
    for (let at = 0; at < disk.size; at += pieceLength) {
      assertSamePiece(disk, raw, at, Math.min(pieceLength, disk.size - at));
    }
    const random = new Prng(disk.size % 0xffff_ffff);
    for (let count = 0; count < oddSpans && disk.size > 0; count += 1) {
      const at = random.below(Math.min(disk.size, 0xffff_ffff));
      assertSamePiece(disk, raw, at, Math.min(disk.size - at, 1 + random.below(oddLengthMax)));
    }
  } finally {
    closeSync(raw);
    rmSync(rawPath);
  }
}

/** Compares one span with `qemu-img dd`; for disks that are too large to convert. Spans start at whole sectors. */
export function assertReadsSpanLike(
  disk: ReadableDisk,
  qcow2Path: string,
  span: { readonly offset: number; readonly length: number },
): void {
  const outPath = `${qcow2Path}.dd`;
  const from = span.offset / ddBlock;
  const to = (span.offset + span.length) / ddBlock;
  assert.ok(Number.isInteger(from) && Number.isInteger(to), 'a span consists of whole blocks');
  const blocks = [`bs=${ddBlock}`, `skip=${from}`, `count=${to}`];
  qemuImg('dd', '-f', 'qcow2', '-O', 'raw', `if=${qcow2Path}`, `of=${outPath}`, ...blocks);
  const expected = readFileSync(outPath);
  rmSync(outPath);
  assert.equal(expected.length, span.length, 'qemu-img dd reads the whole span');
  const found = new Uint8Array(span.length).fill(0xee);
  disk.read(guestOffset(span.offset), found);
  assertSameBytes(found, expected, span.offset);
}

/** The map by QEMU's word. */
export function mapOf(qcow2Path: string): readonly PlainRun[] {
  return plainRuns(mapJson(qcow2Path));
}

/** For a disk of size 0 qemu-img prints one run of no length. */
export function plainRuns(map: readonly MapRun[]): readonly PlainRun[] {
  return merged(
    map
      .filter((run) => run.length > 0)
      .map((run) => ({
        offset: run.start,
        length: run.length,
        kind: run.data ? 'data' : run.present ? 'zero' : 'hole',
        depth: run.depth,
        preallocated: run.data && run.zero,
        host: run.offset,
      })),
  );
}

/** All pages of a listing, with `limit` items each; every page is judged on the way. */
export function listAll(
  list: (query: ExtentQuery) => ExtentPage,
  whole: { readonly size: number; readonly limit: number },
): readonly PlainRun[] {
  const runs: PlainRun[] = [];
  let at = 0;
  while (at < whole.size) {
    const query = {
      offset: at,
      length: whole.size - at,
      limit: whole.limit,
      layer: 'all',
      hostOffsets: true,
    } as const;
    const { items, nextOffset } = list(query);
    assert.ok(items.length >= 1 && items.length <= whole.limit, 'a page holds something, within its limit');
    let end = at;
    for (const item of items) {
      const { offset, length } = item;
      assert.equal(offset, end, 'items leave no gap');
      assert.ok(length > 0, 'an item is not empty');
      runs.push(plainRun(item));
      end = offset + length;
    }
    assert.equal(nextOffset ?? whole.size, end, 'the next page starts where this one ends');
    at = end;
  }
  return merged(runs);
}

function plainRun({ offset, length, kind, depth, preallocated, hostOffset }: ExtentItem): PlainRun {
  return { offset, length, kind, depth, preallocated: preallocated === true, host: hostOffset };
}

/** The runs of a file whose copy lies elsewhere, and has other holes. */
export function withoutPlaces(runs: readonly PlainRun[]): readonly PlainRun[] {
  return merged(runs.map((run) => ({ ...run, preallocated: false, host: undefined })));
}

/**
 * A copy beside the image that has gone back to a snapshot, made by QEMU: its size, bytes and map are the snapshot's
 * (T71). Returns its path.
 */
export function copyAtSnapshot(qcow2Path: string, snapshot: string): string {
  const copy = join(dirname(qcow2Path), 'at-snapshot.qcow2');
  copyFileSync(qcow2Path, copy);
  for (const name of bitmapNames(copy)) qemuImg('bitmap', '--remove', '-f', 'qcow2', copy, name);
  qemuImg('snapshot', '-a', snapshot, copy);
  return copy;
}

const pieceLength = 2 * 1024 * 1024;
const oddSpans = 40;
const oddLengthMax = 200_000;
const ddBlock = 512;

function assertSamePiece(disk: ReadableDisk, raw: number, offset: number, length: number): void {
  const expected = new Uint8Array(length);
  let done = 0;
  while (done < length) {
    const read = readSync(raw, expected, done, length - done, offset + done);
    assert.ok(read > 0, 'the raw file is as long as the disk');
    done += read;
  }
  const found = new Uint8Array(length).fill(0xee);
  disk.read(guestOffset(offset), found);
  assertSameBytes(found, expected, offset);
}

/** Equal, or a message that names the first byte that differs instead of megabytes. */
function assertSameBytes(found: Uint8Array, expected: Uint8Array, offset: number): void {
  if (Buffer.compare(found, expected) === 0) return;
  const at = found.findIndex((byte, index) => byte !== expected[index]);
  assert.fail(`byte ${offset + at} is ${found[at]} and not ${expected[at]} (read ${found.length} bytes at ${offset})`);
}

function merged(runs: readonly PlainRun[]): readonly PlainRun[] {
  const joined: PlainRun[] = [];
  for (const run of runs) {
    const last = joined.at(-1);
    const isSame = last?.kind === run.kind && last.depth === run.depth && last.preallocated === run.preallocated;
    const follows = last?.host === undefined ? run.host === undefined : last.host + last.length === run.host;
    if (!isSame || !follows) joined.push(run);
    else joined[joined.length - 1] = { ...last, length: last.length + run.length };
  }
  return joined;
}

function bitmapNames(path: string): readonly string[] {
  const info = infoJson(path) as { 'format-specific'?: { data?: { bitmaps?: readonly { name: string }[] } } };
  return (info['format-specific']?.data?.bitmaps ?? []).map(({ name }) => name);
}
