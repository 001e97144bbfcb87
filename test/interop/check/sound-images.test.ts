// Images as QEMU's own tools make them: our check and QEMU's say the same of each.

import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { snapshotImages } from '../../support/image-matrix-snapshots.ts';
import { specialImages } from '../../support/image-matrix-special.ts';
import { cook } from '../../support/image-recipe.ts';
import { tempFolder } from '../../support/temp-folder.ts';
import { compareVerdicts, ours, theirs } from './judge.ts';

let folder: ReturnType<typeof tempFolder>;

before(() => {
  folder = tempFolder();
});
after(() => {
  folder[Symbol.dispose]();
});

for (const image of [...snapshotImages, ...specialImages]) {
  test(image.id, () => {
    const path = cook(image, join(folder.path, image.id));
    compareVerdicts(ours(path, 'none'), theirs(path, 'none'), undefined);
  });
}
