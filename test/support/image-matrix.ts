// The images that QEMU's tools make for us to read: the whole list.

import { chainImages } from './image-matrix-chains.ts';
import { gridImages } from './image-matrix-grid.ts';
import { snapshotImages } from './image-matrix-snapshots.ts';
import { specialImages } from './image-matrix-special.ts';
import type { ImageRecipe } from './image-recipe.ts';

/** Every image, each with an id of its own. */
export const imageMatrix: readonly ImageRecipe[] = [...gridImages, ...chainImages, ...snapshotImages, ...specialImages];
