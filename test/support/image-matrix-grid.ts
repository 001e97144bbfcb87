// The grid: every cluster size in both versions, with every refcount width; lazy refcounts, extended L2 entries and
// both compression types spread over it. Every image holds the same story, told in its own clusters.

import { create, io, recipe, topFile } from './image-recipe.ts';
import type { ImageRecipe, RecipeStep } from './image-recipe.ts';

/** What one image of the grid is made with. */
interface GridCase {
  readonly clusterBits: number;
  readonly version: 2 | 3;
  readonly refcountBits: number;
  readonly lazy: boolean;
  readonly extended: boolean;
  readonly zstd: boolean;
}

const clusterBitsAll = [9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21];
const refcountWidths = [1, 2, 4, 8, 16, 32, 64];

/** 13 images of version 2, and of version 3 one for each second width, the others with the next cluster size. */
export const gridImages: readonly ImageRecipe[] = clusterBitsAll.flatMap((clusterBits) => [
  gridImage({ clusterBits, version: 2, refcountBits: 16, lazy: false, extended: false, zstd: false }),
  ...widthsFor(clusterBits).map(([index, refcountBits]) =>
    gridImage({
      clusterBits,
      version: 3,
      refcountBits,
      // Each pair with a width and with a cluster size comes up: the three flags run at different speeds.
      lazy: (clusterBits + index) % 4 < 2,
      extended: clusterBits >= 14 && (clusterBits + 3 * index) % 4 < 2,
      zstd: (2 * clusterBits + index) % 3 === 0,
    }),
  ),
]);

/** With their places among all widths. */
function widthsFor(clusterBits: number): readonly (readonly [number, number])[] {
  return [...refcountWidths.entries()].filter(([index]) => (clusterBits + index) % 2 === 0 || index === 4);
}

function gridImage(choice: GridCase): ImageRecipe {
  const { clusterBits, version, refcountBits, lazy, extended, zstd } = choice;
  const cluster = 2 ** clusterBits;
  const options = [`compat=${version === 2 ? '0.10' : '1.1'}`, `cluster_size=${cluster}`];
  if (version === 3) {
    options.push(`refcount_bits=${refcountBits}`, `lazy_refcounts=${onOff(lazy)}`, `extended_l2=${onOff(extended)}`);
    options.push(`compression_type=${zstd ? 'zstd' : 'zlib'}`);
  }
  const flags = `${lazy ? '-lazy' : ''}${extended ? '-extended' : ''}${zstd ? '-zstd' : ''}`;
  const size = gridSize(cluster, extended);
  const steps: RecipeStep[] = [
    create(topFile, size, options),
    // Random bytes that deflate keeps as they are: the blobs fill most of a cluster, so they cross into the next.
    { kind: 'bytes', file: 'noise', seed: clusterBits, random: (cluster / 8) * 5, length: cluster },
    io(topFile, ...story(cluster, size), ...(extended ? subclusterStory(cluster) : [])),
  ];
  return recipe(`grid-v${version}-c${cluster}-r${refcountBits}${flags}`, 'every kind of cluster', steps);
}

/** Several L2 tables where they are small, and a last cluster that is not whole. */
function gridSize(cluster: number, extended: boolean): number {
  const l2Span = (cluster / (extended ? 16 : 8)) * cluster;
  const least = 24 * cluster;
  return Math.max(least, cluster <= 8192 ? 2 * l2Span + 3 * cluster : 0) + (cluster > 512 ? cluster - 512 : 0);
}

function onOff(value: boolean): string {
  return value ? 'on' : 'off';
}

/** Clusters 0 to 12, the last one, and one in the second L2 table. */
function story(cluster: number, size: number): readonly string[] {
  const at = (index: number, plus = 0): string => String(index * cluster + plus);
  const half = cluster / 2;
  return [
    `write -P 1 ${at(0)} ${cluster}`,
    `write -P 2 ${at(1, half)} ${half}`,
    `write -z ${at(2)} ${cluster}`,
    `write -P 3 ${at(3)} ${3 * cluster}`,
    `write -z ${at(3)} ${cluster}`,
    `write -z -u ${at(4)} ${cluster}`,
    `discard ${at(5)} ${cluster}`,
    `write -P 4 ${at(6)} ${2 * cluster + half}`,
    `write -c -P 5 ${at(9)} ${cluster}`,
    `write -c -s {folder}/noise ${at(10)} ${cluster}`,
    `write -c -s {folder}/noise ${at(11)} ${cluster}`,
    `write -c -s {folder}/noise ${at(12)} ${cluster}`,
    `write -c -P 6 ${at(13)} ${cluster}`,
    `write -c -P 7 ${at(14)} ${cluster}`,
    `write -P 8 ${at(14, half)} ${half}`,
    `write -P 9 ${size - 512} 512`,
    `write -P 10 ${Math.floor(size / 2 / cluster) * cluster} ${half}`,
  ];
}

/** Clusters 16 to 21: subclusters of every state. */
function subclusterStory(cluster: number): readonly string[] {
  const sub = cluster / 32;
  const at = (index: number, subcluster: number): string => String(index * cluster + subcluster * sub);
  return [
    `write -P 11 ${at(16, 3)} ${2 * sub}`,
    `write -z ${at(16, 8)} ${4 * sub}`,
    `write -P 12 ${at(16, 31)} ${sub}`,
    `write -z ${at(17, 5)} ${sub}`,
    `write -z ${at(17, 31)} ${sub}`,
    `write -P 13 ${at(18, 0)} ${cluster}`,
    `write -z ${at(18, 1)} ${30 * sub}`,
    `write -P 14 ${at(19, 7)} ${sub / 2}`,
    `write -P 15 ${at(20, 0)} ${cluster}`,
    `discard ${at(20, 0)} ${cluster}`,
    `write -P 16 ${at(20, 30)} ${4 * sub}`,
  ];
}
