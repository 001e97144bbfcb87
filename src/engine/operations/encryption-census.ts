// Books what the LUKS header owns: one area for the header and the key material of all slots (ENC-02, REF-04).

import { Fault } from '../../base/fault.ts';
import { divideUp } from '../../base/integers.ts';
import { decodeLuksHeader, luksHeaderLength } from '../format/luks-header.ts';
import type { CheckSubject } from './check-subject.ts';
import type { ReferenceLedger } from './reference-ledger.ts';

const luksMethod = 2;

/**
 * Books the area. False where it is not known to hold every key slot: a repair would free key material, and with it the
 * guest's data, so the log has a corruption and a check error. QEMU does not open such an image at all.
 */
export function bookEncryption(subject: CheckSubject, ledger: ReferenceLedger): boolean {
  const { file, header, geometry, extensions } = subject;
  const area = extensions.encryption;
  if (area === undefined) return header.encryptionMethod !== luksMethod || broken(ledger, undefined);
  const { offset, length } = area;
  if (ledger.reachesPast(offset + length)) return broken(ledger, offset);
  ledger.bookInside(offset / geometry.clusterSize, divideUp(offset + length, geometry.clusterSize), 1);
  if (header.encryptionMethod !== luksMethod) return true;
  const bytes = new Uint8Array(luksHeaderLength);
  file.readAt(offset, bytes);
  try {
    decodeLuksHeader(bytes, length);
    return true;
  } catch (thrown) {
    if (thrown instanceof Fault) return broken(ledger, offset);
    throw thrown;
  }
}

function broken(ledger: ReferenceLedger, hostOffset: number | undefined): false {
  const place = hostOffset === undefined ? {} : { hostOffset };
  ledger.log.corruption(1, () => ({
    ...place,
    message: 'The encryption header is cut off, or breaks the rules of LUKS.',
  }));
  ledger.log.error(1, () => ({
    ...place,
    message: 'What the encryption header owns cannot be counted; restore it from a copy of the image.',
  }));
  return false;
}
