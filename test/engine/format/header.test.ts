import assert from 'node:assert/strict';
import { test } from 'node:test';

import { BrokenAssertion } from '../../../src/base/assert.ts';
import type { FaultCode } from '../../../src/base/fault-codes.ts';
import { MiB } from '../../../src/base/units.ts';
import { viewOf } from '../../../src/engine/format/big-endian.ts';
import { emptyMask, withBit } from '../../../src/engine/format/features.ts';
import {
  decodeHeader,
  encodeHeader,
  headerGeometry,
  judgeTables,
  virtualSizeOf,
} from '../../../src/engine/format/header.ts';
import type { Header } from '../../../src/engine/format/header.ts';
import { hostOffset } from '../../../src/engine/format/offsets.ts';
import { faultCodeOf } from '../../support/faults.ts';
import { headerV2, headerV3 } from '../../support/header-values.ts';

/** A version 3 header with some of its bytes changed. */
function changed(change: (view: DataView) => void, header: Header = headerV3): Uint8Array {
  const bytes = encodeHeader(header);
  change(viewOf(bytes));
  return bytes;
}

function decodeFault(change: (view: DataView) => void, header: Header = headerV3): FaultCode | undefined {
  return faultCodeOf(() => decodeHeader(changed(change, header)));
}

function tableFault(change: Partial<Header>, forCheck: boolean): FaultCode | undefined {
  const header = { ...headerV3, ...change };
  return faultCodeOf(() => {
    judgeTables(header, headerGeometry(header), { forCheck });
  });
}

test('decodes what it encodes, both versions and every optional field', () => {
  const rich: Header = {
    ...headerV3,
    backingNameOffset: 0x210,
    backingNameLength: 7,
    clusterBits: 21,
    size: 2 ** 53 - 512,
    l1Entries: 32768,
    snapshotCount: 3,
    snapshotsOffset: hostOffset(2 ** 52),
    incompatible: { high: 0x8000_0000, low: 0x1b },
    compatible: { high: 1, low: 1 },
    autoclear: { high: 2, low: 1 },
    refcountOrder: 6,
    length: 128,
    compressionType: 1,
    unknownFields: Uint8Array.from({ length: 16 }, (_, index) => index + 1),
  };
  for (const header of [headerV2, headerV3, rich, { ...headerV3, length: 104 }]) {
    assert.deepEqual(decodeHeader(encodeHeader(header)), header);
  }
});

test('takes the feature words of version 2 as zero, the order as 4 and the length as 72 (FMT-02)', () => {
  const bytes = new Uint8Array(112).fill(0xff);
  bytes.set(encodeHeader(headerV2));
  assert.deepEqual(decodeHeader(bytes), headerV2);
});

test('keeps the bytes from 112 to the header length (FMT-04)', () => {
  const bytes = new Uint8Array(4096).fill(0x5a);
  bytes.set(
    changed((view) => {
      view.setUint32(100, 120);
    }),
  );
  const header = decodeHeader(bytes);
  assert.deepEqual(header.unknownFields, new Uint8Array(8).fill(0x5a));
  assert.deepEqual(encodeHeader(header), bytes.slice(0, 120));
});

test('cuts the virtual size to whole sectors (FMT-06, T82)', () => {
  const sizes = [0, 511, 512, 1000, 1025].map((size) => virtualSizeOf({ ...headerV3, size }));
  assert.deepEqual(sizes, [0, 0, 512, 512, 1024]);
});

test('refuses a wrong magic, version, cluster size or length (FMT-01, FMT-03, FMT-05)', () => {
  assert.equal(
    decodeFault((view) => {
      view.setUint32(0, 0x5146_49fa);
    }),
    'magic-wrong',
  );
  for (const version of [0, 1, 4, 0xffff_ffff]) {
    assert.equal(
      decodeFault((view) => {
        view.setUint32(4, version);
      }),
      'version-unsupported',
    );
  }
  for (let bits = 0; bits < 64; bits += 1) {
    const expected = bits >= 9 && bits <= 21 ? undefined : 'cluster-bits-invalid';
    assert.equal(
      decodeFault((view) => {
        view.setUint32(20, bits);
      }),
      expected,
      `cluster bits ${String(bits)}`,
    );
  }
  assert.equal(
    decodeFault((view) => {
      view.setUint32(20, 0xffff_ffff);
    }),
    'cluster-bits-invalid',
  );
  for (const length of [0, 72, 103, 65_537, 0xffff_ffff]) {
    assert.equal(
      decodeFault((view) => {
        view.setUint32(100, length);
      }),
      'header-length-invalid',
    );
  }
});

test('refuses every header that the end of the file cuts', () => {
  for (const [header, length] of [
    [headerV2, 72],
    [headerV3, 112],
  ] as const) {
    const bytes = encodeHeader(header);
    for (let cut = 0; cut < length; cut += 1) {
      assert.equal(
        faultCodeOf(() => decodeHeader(bytes.subarray(0, cut))),
        'header-truncated',
        `cut at ${String(cut)}`,
      );
    }
  }
  const long = changed((view) => {
    view.setUint32(100, 65_536);
  });
  assert.equal(
    faultCodeOf(() => decodeHeader(long)),
    'header-truncated',
  );
});

test('refuses refcount widths above 64 bits (REF-03)', () => {
  for (let order = 0; order <= 8; order += 1) {
    assert.equal(
      decodeFault((view) => {
        view.setUint32(96, order);
      }),
      order > 6 ? 'refcount-order-invalid' : undefined,
    );
  }
  assert.equal(
    decodeFault((view) => {
      view.setUint32(96, 0xffff_ffff);
    }),
    'refcount-order-invalid',
  );
});

test('refuses unknown encryption methods, and takes the three known (FMT-11)', () => {
  for (let method = 0; method < 5; method += 1) {
    const expected = method > 2 ? 'encryption-method-invalid' : undefined;
    assert.equal(
      decodeFault((view) => {
        view.setUint32(32, method);
      }),
      expected,
    );
  }
});

test('takes a compression type only together with its feature bit (BIT-I3)', () => {
  const typed = (declared: boolean, byte: number): FaultCode | undefined =>
    decodeFault((view) => {
      view.setUint32(76, declared ? 8 : 0);
      view.setUint8(104, byte);
    });
  assert.equal(typed(false, 0), undefined);
  assert.equal(typed(true, 1), undefined);
  assert.equal(typed(true, 0), 'compression-type-invalid');
  assert.equal(typed(false, 1), 'compression-type-invalid');
  for (let byte = 2; byte < 256; byte += 1) assert.equal(typed(true, byte), 'compression-type-unknown');
  const short = encodeHeader({ ...headerV3, length: 104, incompatible: withBit(emptyMask, 3, true) });
  assert.equal(
    faultCodeOf(() => decodeHeader(short)),
    'compression-type-invalid',
  );
});

test('takes extended L2 entries with clusters of 16 KiB and more only (FMT-05, BIT-I4)', () => {
  for (let bits = 9; bits <= 21; bits += 1) {
    const code = decodeFault((view) => {
      view.setUint32(20, bits);
      view.setUint32(76, 0x10);
    });
    assert.equal(code, bits < 14 ? 'subcluster-size-invalid' : undefined);
  }
});

test('bounds the backing name by the header, the first cluster and 1023 bytes (FMT-10, LIM-07)', () => {
  const named = (offset: bigint, length: number): FaultCode | undefined =>
    decodeFault((view) => {
      view.setBigUint64(8, offset);
      view.setUint32(16, length);
    });
  assert.equal(named(0n, 0xffff_ffff), undefined);
  assert.equal(named(112n, 1023), undefined);
  assert.equal(named(65_536n, 0), undefined);
  assert.equal(named(65_530n, 6), undefined);
  for (const [offset, length] of [
    [111n, 1],
    [8n, 1],
    [112n, 1024],
    [65_530n, 7],
    [65_537n, 0],
    [1n << 52n, 0],
  ] as const) {
    assert.equal(named(offset, length), 'backing-name-invalid', `${String(length)} bytes at ${String(offset)}`);
  }
  assert.equal(named(1n << 53n, 1), 'number-too-large');
});

test('refuses 64-bit numbers of 2^53 or more, and disks of 8 PiB or more by name', () => {
  for (const at of [40, 48, 64]) {
    assert.equal(
      decodeFault((view) => {
        view.setBigUint64(at, 2n ** 53n);
      }),
      'number-too-large',
    );
    assert.equal(
      decodeFault((view) => {
        view.setBigUint64(at, 2n ** 64n - 1n);
      }),
      'number-too-large',
    );
  }
  assert.equal(
    decodeFault((view) => {
      view.setBigUint64(24, 2n ** 53n - 1n);
    }),
    undefined,
  );
  assert.equal(
    decodeFault((view) => {
      view.setBigUint64(24, 2n ** 53n);
    }),
    'virtual-size-too-large',
  );
  assert.equal(
    decodeFault((view) => {
      view.setBigUint64(24, 2n ** 64n - 1n);
    }),
    'virtual-size-too-large',
  );
});

test('bounds the L1 table: count, alignment, place, and what the disk needs (FMT-07, LIM-01)', () => {
  for (const forCheck of [false, true]) {
    const fault = (change: Partial<Header>): FaultCode | undefined => tableFault(change, forCheck);
    assert.equal(fault({}), undefined);
    assert.equal(fault({ l1Entries: 4_194_304 }), undefined);
    assert.equal(fault({ l1Entries: 4_194_305 }), 'l1-table-invalid');
    assert.equal(fault({ l1TableOffset: hostOffset(0x30200) }), 'l1-table-invalid');
    assert.equal(fault({ l1TableOffset: hostOffset(0) }), 'l1-table-invalid');
    assert.equal(fault({ l1TableOffset: hostOffset(2 ** 53 - 65_536), l1Entries: 8193 }), 'l1-table-invalid');
    assert.equal(fault({ size: 512 * MiB }), undefined);
    assert.equal(fault({ size: 512 * MiB + 512 }), 'l1-table-too-small');
    assert.equal(fault({ l1Entries: 0 }), 'l1-table-too-small');
    assert.equal(fault({ l1Entries: 0, size: 0, l1TableOffset: hostOffset(0) }), undefined);
  }
});

test('bounds the refcount table; only a check may miss it (FMT-08, LIM-02)', () => {
  for (const forCheck of [false, true]) {
    assert.equal(tableFault({ refcountTableClusters: 128 }, forCheck), undefined);
    assert.equal(tableFault({ refcountTableClusters: 129 }, forCheck), 'refcount-table-invalid');
    assert.equal(tableFault({ refcountTableClusters: 0xffff_ffff }, forCheck), 'refcount-table-invalid');
    assert.equal(tableFault({ refcountTableOffset: hostOffset(0x10001) }, forCheck), 'refcount-table-invalid');
    assert.equal(tableFault({ refcountTableOffset: hostOffset(0) }, forCheck), 'refcount-table-invalid');
    assert.equal(tableFault({ refcountTableClusters: 0 }, forCheck), forCheck ? undefined : 'refcount-table-invalid');
  }
});

test('bounds the snapshot table except for a check (FMT-09, LIM-03)', () => {
  const fault = (snapshotCount: number, offset: number, forCheck: boolean): FaultCode | undefined =>
    tableFault({ snapshotCount, snapshotsOffset: hostOffset(offset) }, forCheck);
  assert.equal(fault(65_536, 0x40000, false), undefined);
  assert.equal(fault(0, 0x40001, false), undefined);
  for (const [count, offset] of [
    [65_537, 0x40000],
    [1, 0x40001],
    [1, 0],
    [1, 2 ** 53 - 65_536],
  ] as const) {
    assert.equal(fault(count, offset, false), 'snapshot-table-invalid');
    assert.equal(fault(count, offset, true), undefined);
  }
});

test('refuses to encode what the version cannot hold', () => {
  assert.throws(() => encodeHeader({ ...headerV2, length: 112 }), BrokenAssertion);
  assert.throws(() => encodeHeader({ ...headerV2, incompatible: { high: 0, low: 1 } }), BrokenAssertion);
});
