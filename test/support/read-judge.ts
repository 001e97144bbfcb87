// Reading judged by QEMU: one test for every image of a list.

import assert from 'node:assert/strict';
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

import { Image } from '../../src/engine/image.ts';
import { assertReadsLike, assertReadsSpanLike, copyAtSnapshot, listAll, mapOf, withoutPlaces } from './guest-oracle.ts';
import { cook } from './image-recipe.ts';
import type { ImageRecipe } from './image-recipe.ts';
import { assertTellsLike } from './info-judge.ts';
import { tempFolder } from './temp-folder.ts';

/** Items of one page of extents: few, so that every image has several pages. */
const pageLimit = 5;

/** For images of which nothing else is judged. */
export const readingAlone = { verbs: 'reads', judgeMore: (): void => undefined };

/**
 * Registers the tests: bytes, extents, snapshots, what is told of it, and a file that reading leaves as it was. Making an
 * image takes longer than judging it: `judgeMore` is given its path in the end.
 */
export function testReading(
  images: readonly ImageRecipe[],
  { verbs, judgeMore }: { readonly verbs: string; readonly judgeMore: (path: string) => void },
): void {
  for (const image of images) {
    test(`${verbs} ${image.id} as QEMU does`, () => {
      using folder = tempFolder();
      const path = cook(image, folder.path);
      const before = statSync(path);
      const opened = openRecipe(image, folder.path, path);
      try {
        assertSameDisk(image, opened, path);
        assertTellsLike(opened, path, { dataFile: undefined });
        assert.deepEqual(
          opened.snapshots({ from: 0, limit: 1000 }).map(({ name }) => name),
          image.snapshots,
        );
        for (const snapshot of opened.snapshots({ from: 0, limit: 1000 })) {
          assertSameSnapshot(opened, { name: snapshot.name, size: snapshot.virtualSize }, path);
        }
      } finally {
        opened.close();
      }
      const after = statSync(path);
      assert.deepEqual([after.size, after.mtimeMs], [before.size, before.mtimeMs], 'reading changes nothing');
      judgeMore(path);
    });
  }
}

function openRecipe(image: ImageRecipe, folder: string, path: string): Image {
  const backing = image.backing.map(({ fileName, format }) => ({ fileName, format, path: join(folder, fileName) }));
  return Image.open({ path, writable: false, locks: 'qemu', backing });
}

function assertSameDisk(image: ImageRecipe, opened: Image, path: string): void {
  const disk = { size: opened.virtualSize, read: opened.read.bind(opened) };
  assert.deepEqual(listAll(opened.extents.bind(opened), { size: disk.size, limit: pageLimit }), mapOf(path));
  if (image.judge.kind === 'all') {
    assertReadsLike(disk, path);
    return;
  }
  for (const span of image.judge.spans) assertReadsSpanLike(disk, path, span);
}

function assertSameSnapshot(
  opened: Image,
  snapshot: { readonly name: string; readonly size: number },
  path: string,
): void {
  const copy = copyAtSnapshot(path, snapshot.name);
  assertReadsLike(
    {
      size: snapshot.size,
      read: (offset, target) => {
        opened.readSnapshot(snapshot.name, offset, target);
      },
    },
    copy,
  );
  const runs = listAll((query) => opened.snapshotExtents(snapshot.name, query), {
    size: snapshot.size,
    limit: pageLimit,
  });
  assert.deepEqual(withoutPlaces(runs), withoutPlaces(mapOf(copy)));
}
