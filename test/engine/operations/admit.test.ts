// Foreign files at the gate: taken as they are, mended, or refused with every reason, and never changed by a refusal.

import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';

import { Fault } from '../../../src/base/fault.ts';
import { MemoryFile } from '../../../src/engine/file/memory-file.ts';
import { admit } from '../../../src/engine/operations/admit.ts';
import type { Admitted, AdmitWish } from '../../../src/engine/operations/admit.ts';
import { runToEnd } from '../../../src/engine/operations/steps.ts';
import { clusterSize, soundImage as dataImage } from '../../support/damaged-image.ts';
import { commonChoice, soundChoices, soundImage } from '../../support/hostile-image.ts';
import { ImageBytes } from '../../support/image-bytes.ts';
import { fileBytes } from '../../support/memory-parts.ts';
import { tempFolder } from '../../support/temp-folder.ts';

const plain: AdmitWish = { backing: undefined, below: [], repair: 'leaks', locks: 'none' };
const owned = 1n << 63n;
/** Where the header has its incompatible features, in the byte of bits 0 to 7 (BIT-I0…I4). */
const incompatibleAt = 79;

interface Refusal {
  readonly code: string;
  readonly context: Readonly<Record<string, unknown>>;
}

/** What became of a file: taken or refused, and its bytes afterwards. */
interface Verdict {
  readonly admitted: Admitted | undefined;
  readonly refusal: Refusal | undefined;
  readonly bytes: Uint8Array;
}

function judge(bytes: Uint8Array, change: Partial<AdmitWish> = {}): Verdict {
  const file = MemoryFile.of(bytes);
  try {
    return { admitted: runToEnd(admit(file, { ...plain, ...change })), refusal: undefined, bytes: fileBytes(file) };
  } catch (error) {
    assert.ok(error instanceof Fault, String(error));
    return { admitted: undefined, refusal: { code: error.code, context: error.context }, bytes: fileBytes(file) };
  }
}

function violationsOf({ refusal }: Verdict): readonly unknown[] {
  assert.equal(refusal?.code, 'unsafe-image');
  const { violations } = refusal.context;
  assert.ok(Array.isArray(violations));
  return violations.map(({ code }: { readonly code: unknown }) => code);
}

function assertUntouched(verdict: Verdict, before: Uint8Array): void {
  assert.equal(Buffer.compare(verdict.bytes, before), 0, 'the file is as it was');
}

/** An image with data in every cluster, and one thing done to it. */
function damaged(inflict: (image: ImageBytes) => void): Uint8Array {
  const image = dataImage();
  inflict(image);
  return image.bytes;
}

const leak = (image: ImageBytes): void => {
  const cluster = image.endCluster;
  image.fill(cluster * clusterSize, clusterSize, 0xee);
  image.setRefcount(cluster, 1);
};
const countTooLow = (image: ImageBytes): void => {
  image.setRefcount(image.cluster(image.target(image.l2At(3))), 0);
};
const unaligned = (image: ImageBytes): void => {
  image.setU64(image.l2At(3), image.u64(image.l2At(3)) + 512n);
};
const setBit = (bit: number) => (image: ImageBytes) => {
  image.setU32(76, image.u32(76) | (1 << bit));
};

describe('a sound file', () => {
  for (const [name, choice] of soundChoices) {
    it(`is taken without a changed byte, snapshots and bitmaps included: ${name}`, () => {
      const { bytes } = soundImage({ ...commonChoice, ...choice });
      for (const repair of ['none', 'leaks', 'all'] as const) {
        const verdict = judge(bytes, { repair });
        assertUntouched(verdict, bytes);
        const { description, report } = verdict.admitted ?? assert.fail('it is taken');
        assert.equal(report.clean, true);
        assert.deepEqual([description.snapshotCount, description.snapshotIdMax], [1, 1]);
        assert.equal(description.bitmapCount, choice.version === 2 ? 0 : 1);
        assert.equal(description.compat, choice.version === 2 ? '0.10' : '1.1');
      }
    });
  }
});

describe('a file with leaks', () => {
  it('is mended, unless nothing is to be', () => {
    const bytes = damaged(leak);
    const verdict = judge(bytes);
    assert.equal(verdict.admitted?.report.leaksFixed, 1);
    assert.equal(judge(verdict.bytes).admitted?.report.leaks, 0);
    const untouched = judge(bytes, { repair: 'none' });
    assert.equal(untouched.admitted?.report.leaks, 1);
    assertUntouched(untouched, bytes);
  });
});

describe('a file with corruption', () => {
  it('is refused with the report, and mended where that is asked for', () => {
    const bytes = damaged(countTooLow);
    for (const repair of ['none', 'leaks'] as const) {
      const verdict = judge(bytes, { repair });
      assert.deepEqual(violationsOf(verdict), ['image-corrupt']);
      // CHK-08: a refcount of 0 counts twice, the flag of the entry included.
      assert.partialDeepStrictEqual(verdict.refusal?.context['report'], { corruptions: 2, checkErrors: 0 });
      assertUntouched(verdict, bytes);
    }
    const mended = judge(bytes, { repair: 'all' });
    assert.equal(mended.admitted?.report.clean, true);
    assert.deepEqual(judge(mended.bytes, { repair: 'none' }).admitted?.report.findings, []);
  });

  it('that nobody can mend is refused, also where everything may be mended', () => {
    const verdict = judge(damaged(unaligned), { repair: 'all' });
    assert.deepEqual(violationsOf(verdict), ['image-corrupt']);
    assert.partialDeepStrictEqual(verdict.refusal?.context['report'], { clean: false, corruptions: 1 });
  });
});

describe('a file with the dirty bit', () => {
  it('has stale refcounts by its own word, and gets true ones (BIT-I0)', () => {
    const bytes = damaged((image) => {
      setBit(0)(image);
      countTooLow(image);
      leak(image);
    });
    const verdict = judge(bytes);
    assert.equal(verdict.admitted?.report.clean, true);
    assert.equal(verdict.admitted.description.dirty, false);
    assert.equal(verdict.bytes[incompatibleAt], 0);
  });

  it('loses it, also where the refcounts are true', () => {
    const verdict = judge(damaged(setBit(0)));
    assert.equal(verdict.admitted?.description.dirty, false);
    assert.equal(verdict.bytes[incompatibleAt], 0);
  });

  it('is refused for what is wrong besides', () => {
    const verdict = judge(
      damaged((image) => {
        setBit(0)(image);
        unaligned(image);
      }),
    );
    assert.deepEqual(violationsOf(verdict), ['image-corrupt']);
  });
});

describe('a file with the corrupt bit', () => {
  it('is refused untouched, and taken where everything may be mended and nothing is left (BIT-I1)', () => {
    const bytes = damaged(setBit(1));
    const verdict = judge(bytes);
    assert.deepEqual(violationsOf(verdict), ['image-marked-corrupt']);
    assertUntouched(verdict, bytes);
    const mended = judge(bytes, { repair: 'all' });
    assert.equal(mended.admitted?.description.corrupt, false);
    assert.equal(mended.bytes[incompatibleAt], 0);
  });
});

describe('a header', () => {
  it('is refused for all that is against it, at once', () => {
    const bytes = damaged((image) => {
      setBit(1)(image);
      setBit(2)(image);
      image.setU32(32, 2);
      nameBacking(image, 'secret.img');
    });
    const verdict = judge(bytes);
    assert.deepEqual(violationsOf(verdict), [
      'backing-refused',
      'data-file-refused',
      'luks-header-invalid',
      'image-marked-corrupt',
    ]);
    assertUntouched(verdict, bytes);
  });

  it('that breaks the format is one violation with its facts', () => {
    const bytes = damaged((image) => {
      image.setU32(20, 22);
    });
    const verdict = judge(bytes);
    assert.deepEqual(violationsOf(verdict), ['cluster-bits-invalid']);
    const noImage = judge(new Uint8Array(70_000));
    assert.deepEqual(violationsOf(noImage), ['magic-wrong']);
  });

  it('with features that are unknown here is refused with their bits (BIT-I5)', () => {
    const verdict = judge(damaged(setBit(17)));
    assert.deepEqual(verdict.refusal?.context['violations'], [
      { code: 'feature-unknown', bits: [17], names: ['bit 17'] },
    ]);
  });
});

describe('a file that names another one', () => {
  const name = `${'long-'.repeat(20)}base.raw`;

  it('names the file that stands for it afterwards, and is read over that', () => {
    using folder = tempFolder();
    const path = join(folder.path, 'base');
    writeFileSync(path, new Uint8Array(1024).fill(9));
    const bytes = damaged((image) => {
      nameBacking(image, '/etc/passwd');
    });
    const verdict = judge(bytes, { backing: { fileName: name, path, format: 'raw' } });
    assert.equal(verdict.admitted?.description.backingFileName, name);
    assert.equal(verdict.admitted.description.backingFormat, 'raw');
    // FMT-10, EXT-01: offset and length in the header, the name behind the extensions, the format in one of them.
    const image = ImageBytes.of(verdict.bytes);
    const nameAt = Number(image.u64(8));
    assert.equal(Buffer.from(verdict.bytes.subarray(nameAt, nameAt + image.u32(16))).toString(), name);
    const formatAt = image.extensionAt(0xe279_2aca);
    assert.equal(Buffer.from(verdict.bytes.subarray(formatAt, formatAt + 3)).toString(), 'raw');
    assert.equal(Buffer.from(verdict.bytes).includes('/etc/passwd'), false);
    assert.equal(Buffer.compare(verdict.bytes.subarray(clusterSize), bytes.subarray(clusterSize)), 0);
  });

  it('is refused where that file is missing', () => {
    using folder = tempFolder();
    const backing = { fileName: name, path: join(folder.path, 'nothing'), format: 'raw' } as const;
    const verdict = judge(
      damaged((image) => {
        nameBacking(image, 'x');
      }),
      { backing },
    );
    assert.deepEqual(verdict.refusal, { code: 'backing-missing', context: { fileName: name } });
  });

  it('is refused where the new name does not fit its header', () => {
    const { bytes } = soundImage({ ...commonChoice, clusterBits: 9 });
    const image = ImageBytes.of(bytes);
    nameBacking(image, 'x');
    const before = image.bytes;
    const backing = { fileName: 'n'.repeat(400), path: '/nowhere', format: 'qcow2' } as const;
    const verdict = judge(before, { backing });
    assert.equal(verdict.refusal?.code, 'header-full');
    assertUntouched(verdict, before);
  });

  it('is what it is: a file that names none gets none', () => {
    const bytes = dataImage().bytes;
    const verdict = judge(bytes, { backing: { fileName: name, path: '/nowhere', format: 'raw' } });
    assert.equal(verdict.refusal?.code, 'unsupported-option');
    assertUntouched(verdict, bytes);
  });
});

it('a file is admitted in steps, and given up between them it is left as it was', () => {
  // The entries of a preallocated disk make the check long enough to be cut into steps.
  const image = dataImage();
  const l2Tables = 1200;
  const first = image.endCluster;
  image.resize((first + l2Tables) * clusterSize);
  image.setU32(36, l2Tables);
  const l1 = Math.ceil(image.length / clusterSize) * clusterSize;
  image.resize(l1 + 3 * clusterSize);
  image.setU64(40, BigInt(l1));
  for (let index = 0; index < l2Tables; index += 1) {
    image.setU64(l1 + index * 8, owned | BigInt((first + index) * clusterSize));
  }
  const file = MemoryFile.of(image.bytes);
  const steps = admit(file, { ...plain, repair: 'all' });
  const { done, value } = steps.next();
  assert.equal(done, false);
  assert.ok(value.total > 0 && value.done <= value.total);
  steps.return({} as never);
  assert.equal(Buffer.compare(fileBytes(file), image.bytes), 0);
});

/** FMT-10: a name behind everything else in the first cluster. */
function nameBacking(image: ImageBytes, name: string): void {
  const at = image.clusterSize - name.length;
  image.setU64(8, BigInt(at));
  image.setU32(16, name.length);
  for (const [index, byte] of Buffer.from(name).entries()) image.fill(at + index, 1, byte);
}
