// Where the bytes of the disk lie: the one place through which guest data, and nothing else, is read and written.

import { assert } from '../base/assert.ts';
import { Fault } from '../base/fault.ts';
import { alignDown, alignUp } from '../base/integers.ts';
import { sectorSize } from '../base/units.ts';
import type { ByteFile } from './file/byte-file.ts';
import type { ByteSource } from './file/file-span.ts';
import { FileSpan } from './file/file-span.ts';
import { hostOffset } from './format/offsets.ts';
import type { GuestOffset, HostOffset } from './format/offsets.ts';
import type { SectorCipher } from './transform/sector-cipher.ts';

/**
 * Guest data in its host clusters: where a span lies, and what the guest calls its start. A span lies inside one run of
 * host clusters. Faults of the file.
 */
export interface GuestData {
  readAt(host: HostOffset, guest: GuestOffset, target: Uint8Array): void;
  writeAt(host: HostOffset, guest: GuestOffset, source: ByteSource): void;
  /** A span as bytes of a file that another one may take as they are; undefined where they are none. */
  spanAt(host: HostOffset, length: number): FileSpan | undefined;
  /** How such bytes are taken here; see {@link ByteFile.copyBlock}. */
  readonly copyBlock: number | undefined;
  /** From this host offset on, what was never written reads as zeroes to the guest. */
  readonly zeroesFrom: number;
}

/** As they are, in the image file itself. */
export class PlainData implements GuestData {
  readonly #file: ByteFile;

  constructor(file: ByteFile) {
    this.#file = file;
  }

  get zeroesFrom(): number {
    return this.#file.size;
  }

  readAt(host: HostOffset, _guest: GuestOffset, target: Uint8Array): void {
    this.#file.readAt(host, target);
  }

  writeAt(host: HostOffset, _guest: GuestOffset, source: ByteSource): void {
    if (source instanceof FileSpan) source.copyTo(this.#file, host);
    else this.#file.writeAt(host, source);
  }

  spanAt(host: HostOffset, length: number): FileSpan {
    return new FileSpan(this.#file, { offset: host, length });
  }

  get copyBlock(): number | undefined {
    return this.#file.copyBlock;
  }
}

/** Which offset numbers the sectors: `host` with LUKS, `guest` with the old AES scheme (ENC-01, ENC-03, T74). */
export type SectorNumbering = 'host' | 'guest';

/**
 * Encrypted in the image file. Without its cipher all guest data is out of reach: fault `passphrase-required`. A hole is
 * noise to the guest, so nothing that is to read as zeroes may be left unwritten.
 */
export class EncryptedData implements GuestData {
  readonly #file: ByteFile;
  readonly #numbering: SectorNumbering;
  #cipher: SectorCipher | undefined;

  constructor(file: ByteFile, numbering: SectorNumbering) {
    this.#file = file;
    this.#numbering = numbering;
  }

  get isUnlocked(): boolean {
    return this.#cipher !== undefined;
  }

  unlock(cipher: SectorCipher): void {
    this.#cipher = cipher;
  }

  lock(): void {
    this.#cipher = undefined;
  }

  get zeroesFrom(): number {
    return Infinity;
  }

  readAt(host: HostOffset, guest: GuestOffset, target: Uint8Array): void {
    const cipher = this.#keyed();
    const { first, length, skipped } = sectorsAround(host, target.length);
    if (length === target.length) {
      this.#file.readAt(first, target);
      cipher.decrypt(target, this.#number({ host, guest, skipped }));
      return;
    }
    const sectors = new Uint8Array(length);
    this.#file.readAt(first, sectors);
    cipher.decrypt(sectors, this.#number({ host, guest, skipped }));
    target.set(sectors.subarray(skipped, skipped + target.length));
  }

  /** The caller's bytes stay as they are. Sectors of which only a part is written keep the rest. */
  writeAt(host: HostOffset, guest: GuestOffset, source: ByteSource): void {
    const cipher = this.#keyed();
    const { first, length, skipped } = sectorsAround(host, source.length);
    const sectors = new Uint8Array(length);
    const number = this.#number({ host, guest, skipped });
    const keepFrom = (at: number): void => {
      const sector = sectors.subarray(at, at + sectorSize);
      this.#file.readAt(hostOffset(first + at), sector);
      cipher.decrypt(sector, number + at / sectorSize);
    };
    const end = skipped + source.length;
    if (skipped > 0) keepFrom(0);
    if (end < length && (skipped === 0 || length > sectorSize)) keepFrom(length - sectorSize);
    sectors.set(source instanceof FileSpan ? source.read() : source, skipped);
    cipher.encrypt(sectors, number);
    this.#file.writeAt(first, sectors);
  }

  /** They are noise to everybody else. */
  spanAt(): undefined {
    return undefined;
  }

  get copyBlock(): undefined {
    return undefined;
  }

  #keyed(): SectorCipher {
    if (this.#cipher === undefined) throw new Fault('passphrase-required', {});
    return this.#cipher;
  }

  /** The number of the sector that holds the place, which lies `skipped` bytes behind the start of its sector. */
  #number(place: { readonly host: HostOffset; readonly guest: GuestOffset; readonly skipped: number }): number {
    const start = (this.#numbering === 'host' ? place.host : place.guest) - place.skipped;
    assert(start % sectorSize === 0, 'guest and host sectors start together');
    return start / sectorSize;
  }
}

/** The whole sectors that a span touches. */
function sectorsAround(
  host: HostOffset,
  length: number,
): { readonly first: HostOffset; readonly length: number; readonly skipped: number } {
  const first = alignDown(host, sectorSize);
  return { first: hostOffset(first), length: alignUp(host + length, sectorSize) - first, skipped: host - first };
}
