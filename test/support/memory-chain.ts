// Layers of chains in memory, encrypted or not.

import type { ByteFile } from '../../src/engine/file/byte-file.ts';
import { MemoryFile } from '../../src/engine/file/memory-file.ts';
import { guestOffset } from '../../src/engine/format/offsets.ts';
import type { CreateSpec, NewEncryption } from '../../src/engine/image.ts';
import type { Layer } from '../../src/engine/layer/layer.ts';
import { RawLayer } from '../../src/engine/layer/raw-layer.ts';
import { SessionLayer } from '../../src/engine/operations/commit.ts';
import { ImageSession } from '../../src/engine/operations/image-session.ts';
import { deriveHere } from '../../src/engine/transform/key-derivation.ts';
import { chanceLength, makeLuks } from '../../src/engine/transform/new-luks.ts';
import type { LuksWish } from '../../src/engine/transform/new-luks.ts';
import { passphrase, usualLuks } from './luks-image.ts';
import { imageOver, newFile } from './memory-parts.ts';
import { Prng } from './prng.ts';

/** The least key material: files with it are judged by the thousand. */
const smallLuks: LuksWish = {
  ...{ ...usualLuks, cipher: { algorithm: 'aes-128', mode: 'cbc' } },
  hashAlg: 'sha1',
};

/** Always the same key for a seed, and another one for each, with so few rounds that nobody waits for them. */
export function luksOf(seed: number, wish: LuksWish = smallLuks): NewEncryption {
  const made = makeLuks(wish, {
    ...{ passphrase: Buffer.from(`${passphrase} ${String(seed)}`) },
    cost: { slotIterations: 1000, digestIterations: 1000 },
    chance: new Prng(seed).bytes(chanceLength),
  });
  return { format: 'luks', ...deriveHere(made) };
}

/** An image over a layer, with its key if it has one. */
export function sessionOver(
  file: ByteFile,
  use: { readonly layer: Layer | undefined; readonly encryption: NewEncryption | undefined },
): ImageSession {
  const session = ImageSession.open(file, { writable: true, layer: use.layer, openDataFile: undefined });
  if (use.encryption !== undefined) session.unlock(use.encryption.volumeKey);
  return session;
}

/** The layer of some bytes: a raw file, or an encrypted image. However often it is closed, it can be read. */
export function layerOf(bytes: Uint8Array, encryption: NewEncryption | undefined): Layer {
  if (encryption === undefined) return kept(new RawLayer(MemoryFile.of(bytes)));
  const spec: Partial<CreateSpec> = { clusterSize: 512, virtualSize: bytes.length, encryption };
  const file = newFile(spec);
  const image = imageOver(file, undefined);
  image.unlock(encryption.volumeKey);
  image.write(guestOffset(0), bytes, { detectZeroes: false });
  image.close();
  return kept(new SessionLayer(sessionOver(file, { layer: undefined, encryption })));
}

function kept(layer: Layer): Layer {
  return {
    size: layer.size,
    read: (offset, target) => {
      layer.read(offset, target);
    },
    extentAt: (offset, lengthMax) => layer.extentAt(offset, lengthMax),
    spanAt: (offset, lengthMax) => layer.spanAt?.(offset, lengthMax),
    close: () => undefined,
  };
}
