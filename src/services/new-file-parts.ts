// What the file of a new image has beside its format: a key, and a data file.

import { keyChanceLength } from '../pool/protocol.ts';
import type { EncryptionRequest, NewDataFile, NewEncryption } from '../pool/protocol.ts';
import type { ServiceParts } from './service-parts.ts';

/** How a new image is to be encrypted. */
export type EncryptionOptions =
  | Extract<EncryptionRequest, { readonly format: 'aes' }>
  | Omit<Extract<EncryptionRequest, { readonly format: 'luks' }>, 'chance'>;

/** Makes the key that is wanted, if one is, lets `use` have it, and wipes it. See {@link EnginePool.withNewKey}. */
export async function withNewKey<Result>(
  parts: Pick<ServiceParts, 'pool' | 'entropy'>,
  wish: { readonly wanted: EncryptionOptions | undefined; readonly signal: AbortSignal | undefined },
  use: (made: NewEncryption | undefined) => Promise<Result>,
): Promise<Result> {
  const { wanted, signal } = wish;
  if (wanted === undefined) return use(undefined);
  const request = wanted.format === 'luks' ? { ...wanted, chance: parts.entropy(keyChanceLength) } : wanted;
  return parts.pool.withNewKey(request, { signal }, use);
}

/** Made in staging, beside the image; undefined for none. */
export function newDataFile(
  { directory }: Pick<ServiceParts, 'directory'>,
  id: string,
  choice: { readonly raw: boolean } | undefined,
): NewDataFile | undefined {
  if (choice === undefined) return undefined;
  return { fileName: directory.dataFileName(id), path: directory.dataPath('staging', id), raw: choice.raw };
}
