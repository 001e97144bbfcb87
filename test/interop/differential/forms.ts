// What the image of a life is at first, and what a copy of it is, chosen by chance.

import type { Prng } from '../../support/prng.ts';
import { sector } from './stream.ts';
import type { Form, StreamOptions } from './stream.ts';

export function chooseOptions(prng: Prng): StreamOptions {
  const form = chooseForm(prng);
  const { clusterSize, compat, extendedL2 } = form;
  const virtualSize = sector * (1 + prng.below(Math.min(16_384, (clusterSize * 40) / sector)));
  const isBacked = prng.chance(40);
  const hasDataFile = compat === '1.1' && prng.chance(20);
  const dataFile = !hasDataFile ? 'none' : !isBacked && prng.chance(50) ? 'raw' : 'mapped';
  const encryption = chooseEncryption(prng, dataFile);
  const middleClusterSize = 2 ** (9 + prng.below(8));
  const middleSize = middleClusterSize * Math.ceil((virtualSize * (1 + prng.below(150))) / 100 / middleClusterSize);
  return {
    ...form,
    virtualSize,
    dataFile,
    below: isBacked ? prng.pick(['base.raw', 'base.raw', 'middle.qcow2', 'other.qcow2']) : undefined,
    layers: {
      // Not longer than what stands on it: behind its end the middle one has nothing to show when it grows.
      baseSize: sector * (1 + prng.below(middleSize / sector)),
      middle: { clusterSize: middleClusterSize, virtualSize: middleSize },
      other: {
        clusterSize: 2 ** (9 + prng.below(8)),
        virtualSize: sector * (1 + prng.below((virtualSize * 2) / sector)),
      },
    },
    encryption,
    // What QEMU reserves in an encrypted image reads as noise (CRE-05); a LUKS one is made here for both.
    // CRE-05; over a layer it shows through (SUB-10, T28).
    preallocation:
      (!isBacked || extendedL2) && encryption !== 'aes' && prng.chance(25)
        ? prng.pick(['metadata', 'falloc', 'full'])
        : 'off',
  };
}

/** The twin of a LUKS image is a copy of ours, which names our data file; a raw one is nothing by itself when it is encrypted. */
function chooseEncryption(prng: Prng, dataFile: StreamOptions['dataFile']): StreamOptions['encryption'] {
  if (dataFile === 'raw') return 'none';
  if (dataFile === 'mapped') return prng.chance(40) ? 'aes' : 'none';
  return prng.chance(20) ? prng.pick(['luks', 'luks', 'aes'] as const) : 'none';
}

/** How an image, or a copy of one, is laid out. */
export function chooseForm(prng: Prng): Form {
  const isVersion2 = prng.chance(20);
  const extendedL2 = !isVersion2 && prng.chance(25);
  return {
    compat: isVersion2 ? '0.10' : '1.1',
    clusterSize: 2 ** (extendedL2 ? 14 + prng.below(4) : 9 + prng.below(9)),
    refcountBits: isVersion2 ? 16 : 2 ** prng.below(7),
    extendedL2,
    lazyRefcounts: !isVersion2 && prng.chance(25),
    compressionType: !isVersion2 && prng.chance(30) ? 'zstd' : 'zlib',
  };
}
