// What an image may be made into: the rules of the amend options (AMD-01…AMD-04, AMD-08), judged before anything is changed.

import { Fault } from '../../base/fault.ts';
import { isPowerOfTwo } from '../../base/integers.ts';
import { autoclearBits, hasBit, incompatibleBits } from '../format/features.ts';
import { refcountOrderMax } from '../format/geometry.ts';
import type { WriteParts } from '../image-parts.ts';

/** What is to be another way; undefined for what stays. */
export interface AmendWish {
  readonly compat: '0.10' | '1.1' | undefined;
  readonly refcountBits: number | undefined;
  readonly lazyRefcounts: boolean | undefined;
  /** Can only be given up. */
  readonly dataFileRaw: boolean | undefined;
}

/** What the image is afterwards. */
export interface AmendGoal {
  readonly version: 2 | 3;
  readonly refcountOrder: number;
  readonly lazyRefcounts: boolean;
  readonly dataFileRaw: boolean;
}

/** By all that the header and the snapshots say. Fault `unsupported-option` {option, value, reason}. */
export function judgeAmend(parts: WriteParts, wish: AmendWish): AmendGoal {
  const { header, version: before } = parts;
  const version = wish.compat === undefined ? before : wish.compat === '0.10' ? 2 : 3;
  if (version === 2 && before === 3) judgeDowngrade(parts);
  const isRaw = hasBit(header.header.autoclear, autoclearBits.rawExternalData);
  if (wish.dataFileRaw === true && !isRaw) {
    throw unsupported('dataFileRaw', true, 'must be chosen when an image is made; later it can only be given up');
  }
  if (wish.lazyRefcounts === true && version === 2) throw unsupported('lazyRefcounts', true, 'needs compat 1.1');
  return {
    version,
    refcountOrder: judgeRefcountBits(parts, wish, version),
    lazyRefcounts: version === 3 && (wish.lazyRefcounts ?? header.isLazy),
    dataFileRaw: isRaw && wish.dataFileRaw !== false,
  };
}

function judgeRefcountBits({ geometry }: WriteParts, wish: AmendWish, version: 2 | 3): number {
  const bits = wish.refcountBits ?? geometry.refcountBits;
  if (!isPowerOfTwo(bits) || bits > 2 ** refcountOrderMax) {
    throw unsupported('refcountBits', bits, 'must be 1, 2, 4, 8, 16, 32 or 64');
  }
  if (version === 2 && bits !== refcountBitsV2) {
    if (wish.refcountBits !== undefined) {
      throw unsupported('refcountBits', bits, 'a width other than 16 needs compat 1.1');
    }
    throw unsupported('compat', '0.10', `needs refcountBits 16, and the image has ${String(bits)}`);
  }
  return Math.log2(bits);
}

/** What version 2 has no words for (AMD-02). */
function judgeDowngrade({ header, geometry, snapshots }: WriteParts): void {
  const refuse = (reason: string): never => {
    throw unsupported('compat', '0.10', reason);
  };
  if (geometry.extendedL2) refuse('version 2 has no extended L2 entries');
  if (hasBit(header.header.incompatible, incompatibleBits.externalDataFile)) refuse('version 2 has no data files');
  if (header.hasBitmaps) refuse('version 2 has no bitmaps: delete those of the image first');
  for (let index = 0; index < snapshots.count; index += 1) {
    const { name, virtualSize, vmStateSize } = snapshots.at(index);
    if ((virtualSize ?? header.virtualSize) !== header.virtualSize) {
      refuse(`version 2 does not know how large the disk of snapshot "${name}" was`);
    }
    if (vmStateSize > vmStateSizeMaxV2) refuse(`version 2 has no room for the VM state of snapshot "${name}"`);
  }
}

const refcountBitsV2 = 16;
const vmStateSizeMaxV2 = 0xffff_ffff;

export function unsupported(option: keyof AmendWish, value: unknown, reason: string): Fault {
  return new Fault('unsupported-option', { option, value, reason });
}
