// Writes every image of the matrix into a folder.
//
//   node test/interop/make-images.ts FOLDER [PART-OF-AN-ID]

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { imageMatrix } from '../support/image-matrix.ts';
import { cook } from '../support/image-recipe.ts';

const [folder, part] = process.argv.slice(2);
if (folder === undefined) {
  process.stderr.write('usage: node test/interop/make-images.ts FOLDER [PART-OF-AN-ID]\n');
  process.exit(2);
}

mkdirSync(folder, { recursive: true });
const chosen = imageMatrix.filter((image) => part === undefined || image.id.includes(part));
for (const image of chosen) cook(image, join(folder, image.id));
writeFileSync(join(folder, 'images.json'), `${JSON.stringify(chosen, undefined, 2)}\n`);
process.stdout.write(`${chosen.length} images in ${folder}\n`);
