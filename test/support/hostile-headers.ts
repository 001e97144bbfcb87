// Hostile headers and extensions: every field beyond its limit, and files that end inside every structure.

import type { FaultCode } from '../../src/base/fault-codes.ts';
import { at, commonChoice, place, setUint32, setUint64, soundImage } from './hostile-image.ts';
import type { DraftImage, SoundChoice } from './hostile-image.ts';

/** One hostile file. */
export interface HostileImage {
  readonly id: string;
  readonly bytes: Uint8Array;
  /** What opening must fail with; undefined: any fault, or none, will do. */
  readonly openFault: FaultCode | undefined;
}

/** Breaks a sound image. */
export function broken(
  id: string,
  openFault: FaultCode | undefined,
  change: (draft: DraftImage) => void,
  choice: Partial<SoundChoice> = {},
): HostileImage {
  const draft = soundImage({ ...commonChoice, ...choice });
  change(draft);
  return { id, bytes: draft.bytes, openFault };
}

const clusterSize = 4096;
const top = 2n ** 64n - 1n;

/** A header field of 32 bits set to each of some values. */
function field32(
  name: string,
  offset: number,
  values: readonly (readonly [number, FaultCode | undefined])[],
): readonly HostileImage[] {
  return values.map(([value, fault]) =>
    broken(`header-${name}-${value}`, fault, (draft) => {
      setUint32(draft, offset, value);
    }),
  );
}

/** A header field of 64 bits set to each of some values. */
function field64(
  name: string,
  offset: number,
  values: readonly (readonly [bigint, FaultCode | undefined])[],
): readonly HostileImage[] {
  return values.map(([value, fault]) =>
    broken(`header-${name}-${value}`, fault, (draft) => {
      setUint64(draft, offset, value);
    }),
  );
}

const fields: readonly HostileImage[] = [
  ...field32('magic', 0, [
    [0, 'magic-wrong'],
    [0x5146_4900, 'magic-wrong'],
  ]),
  ...field32('version', 4, [
    [0, 'version-unsupported'],
    [1, 'version-unsupported'],
    [4, 'version-unsupported'],
    [0xffff_ffff, 'version-unsupported'],
  ]),
  ...field64('backing-offset', 8, [
    [1n, 'backing-name-invalid'],
    [111n, 'backing-name-invalid'],
    [4097n, 'backing-name-invalid'],
    [2n ** 52n, 'backing-name-invalid'],
    [top, 'number-too-large'],
  ]),
  ...field32('cluster-bits', 20, [
    [0, 'cluster-bits-invalid'],
    [8, 'cluster-bits-invalid'],
    [22, 'cluster-bits-invalid'],
    [32, 'cluster-bits-invalid'],
    [0xffff_ffff, 'cluster-bits-invalid'],
    // Within limits, and nothing in the file is where it was.
    [9, undefined],
    [21, undefined],
  ]),
  ...field64('size', 24, [
    [2n ** 53n, 'virtual-size-too-large'],
    [2n ** 63n, 'virtual-size-too-large'],
    [top, 'virtual-size-too-large'],
    [2n ** 53n - 1n, 'l1-table-too-small'],
    [2n ** 21n + 512n, 'l1-table-too-small'],
    [1n, undefined],
    [0n, undefined],
  ]),
  ...field32('encryption', 32, [
    [1, undefined],
    [2, undefined],
    [3, 'encryption-method-invalid'],
    [0xffff_ffff, 'encryption-method-invalid'],
  ]),
  ...field32('l1-entries', 36, [
    [0, 'l1-table-too-small'],
    [4_194_305, 'l1-table-invalid'],
    [0xffff_ffff, 'l1-table-invalid'],
    [4_194_304, undefined],
  ]),
  ...field64('l1-offset', 40, [
    [0n, 'l1-table-invalid'],
    [12_289n, 'l1-table-invalid'],
    [12_800n, 'l1-table-invalid'],
    [2n ** 53n - 4096n, undefined],
    [2n ** 53n, 'number-too-large'],
    [2n ** 63n + 12_288n, 'number-too-large'],
    [2n ** 50n, undefined],
    [BigInt(place.refcountTable * clusterSize), undefined],
    [BigInt(place.refcountBlock * clusterSize), undefined],
    [BigInt(place.l2Table * clusterSize), undefined],
    [BigInt(place.snapshotTable * clusterSize), undefined],
  ]),
  ...field64('refcount-table-offset', 48, [
    [0n, 'refcount-table-invalid'],
    [4097n, 'refcount-table-invalid'],
    [2n ** 53n, 'number-too-large'],
    [top, 'number-too-large'],
    [2n ** 50n, undefined],
    [BigInt(place.l1Table * clusterSize), undefined],
    [BigInt(place.dataOne * clusterSize), undefined],
  ]),
  ...field32('refcount-table-clusters', 56, [
    [0, 'refcount-table-invalid'],
    [2049, 'refcount-table-invalid'],
    [0xffff_ffff, 'refcount-table-invalid'],
    [2048, undefined],
  ]),
  ...field32('snapshot-count', 60, [
    [65_537, 'snapshot-table-invalid'],
    [0xffff_ffff, 'snapshot-table-invalid'],
    [65_536, undefined],
    [2, undefined],
  ]),
  ...field64('snapshots-offset', 64, [
    [0n, 'snapshot-table-invalid'],
    [32_769n, 'snapshot-table-invalid'],
    [2n ** 53n, 'number-too-large'],
    [2n ** 50n, undefined],
    [BigInt(place.l1Table * clusterSize), undefined],
    [BigInt(place.dataOne * clusterSize), undefined],
  ]),
  ...field64('incompatible', 72, [
    [32n, 'feature-unknown'],
    [2n ** 63n, 'feature-unknown'],
    [top, undefined],
    [4n, 'data-file-refused'],
    [8n, 'compression-type-invalid'],
    [16n, 'subcluster-size-invalid'],
    // Dirty and corrupt: both can be read.
    [1n, undefined],
    [2n, undefined],
  ]),
  ...field64('compatible', 80, [[top, undefined]]),
  ...field64('autoclear', 88, [
    [top, undefined],
    [2n, 'data-file-invalid'],
  ]),
  ...field32('refcount-order', 96, [
    [7, 'refcount-order-invalid'],
    [255, 'refcount-order-invalid'],
    [0xffff_ffff, 'refcount-order-invalid'],
    [0, undefined],
    [6, undefined],
  ]),
  ...field32('length', 100, [
    [0, 'header-length-invalid'],
    [72, 'header-length-invalid'],
    [103, 'header-length-invalid'],
    [4097, 'header-length-invalid'],
    [0xffff_ffff, 'header-length-invalid'],
    [4096, undefined],
  ]),
  ...field32('compression-type', 104, [
    [0x0100_0000, 'compression-type-invalid'],
    [0xff00_0000, 'compression-type-invalid'],
  ]),
];

/** A backing name, as it is stored: all of these are refused, whoever asks. */
function backingName(name: string): HostileImage {
  const text = new TextEncoder().encode(name);
  return broken(
    `backing-name-${name.replaceAll(/[^a-z]/g, '').slice(0, 20)}-${text.length}`,
    'backing-refused',
    (draft) => {
      setUint64(draft, 8, 2048n);
      setUint32(draft, 16, text.length);
      draft.bytes.set(text, 2048);
    },
  );
}

const backingNames: readonly HostileImage[] = [
  ...[
    '/etc/passwd',
    '../../../etc/shadow',
    'json:{"driver":"nbd"}',
    'nbd://127.0.0.1/',
    'hostile.qcow2',
    '\u0000',
    'x'.repeat(1023),
  ].map(backingName),
  ...[1024, 2049, 0xffff_ffff].map((length) =>
    broken(`backing-length-${length}`, 'backing-name-invalid', (draft) => {
      setUint64(draft, 8, 2048n);
      setUint32(draft, 16, length);
    }),
  ),
];

/** Where the extensions of the sound image begin, and its bitmaps extension's data. */
const extensionsAt = 112;
const bitmapsAt = extensionsAt + 8;

function extension(id: string, openFault: FaultCode | undefined, type: number, length: number): HostileImage {
  return broken(`extension-${id}`, openFault, (draft) => {
    draft.bytes.fill(0x41, extensionsAt, clusterSize);
    setUint32(draft, extensionsAt, type);
    setUint32(draft, extensionsAt + 4, length);
  });
}

function bitmaps(id: string, openFault: FaultCode | undefined, change: (draft: DraftImage) => void): HostileImage {
  return broken(`bitmaps-${id}`, openFault, change);
}

const extensions: readonly HostileImage[] = [
  extension('length-max', 'extension-invalid', 0x1234_5678, 0xffff_ffff),
  extension('length-negative', 'extension-invalid', 0x1234_5678, 0x8000_0000),
  extension('one-too-long', 'extension-invalid', 0x1234_5678, clusterSize - extensionsAt - 8 + 1),
  extension('to-the-end', undefined, 0x1234_5678, clusterSize - extensionsAt - 8),
  extension('backing-format-16', 'extension-invalid', 0xe279_2aca, 16),
  extension('backing-format-long', 'extension-invalid', 0xe279_2aca, 3000),
  extension('bitmaps-short', 'extension-invalid', 0x2385_2875, 23),
  extension('encryption-short', 'extension-invalid', 0x0537_be77, 15),
  extension('encryption-unasked', undefined, 0x0537_be77, 16),
  extension('feature-names-garbage', undefined, 0x6803_f857, clusterSize - extensionsAt - 8),
  extension('data-file-name-unasked', undefined, 0x4441_5441, 64),
  broken('extension-no-end', undefined, (draft) => {
    for (let offset = extensionsAt; offset < clusterSize; offset += 8) {
      setUint32(draft, offset, 0x1234_5678);
      setUint32(draft, offset + 4, 0);
    }
  }),
  broken(
    'extension-too-many',
    'extension-invalid',
    (draft) => {
      for (let offset = extensionsAt; offset < draft.geometry.clusterSize; offset += 8) {
        setUint32(draft, offset, 0x1234_5678);
        setUint32(draft, offset + 4, 0);
      }
    },
    { clusterBits: 16 },
  ),
  bitmaps('count-0', 'extension-invalid', (draft) => {
    setUint32(draft, bitmapsAt, 0);
  }),
  bitmaps('count-65536', 'extension-invalid', (draft) => {
    setUint32(draft, bitmapsAt, 65_536);
  }),
  bitmaps('count-65535', undefined, (draft) => {
    setUint32(draft, bitmapsAt, 65_535);
  }),
  bitmaps('reserved', 'extension-invalid', (draft) => {
    setUint32(draft, bitmapsAt + 4, 1);
  }),
  bitmaps('directory-length-0', 'extension-invalid', (draft) => {
    setUint64(draft, bitmapsAt + 8, 0n);
  }),
  bitmaps('directory-too-long', 'extension-invalid', (draft) => {
    setUint64(draft, bitmapsAt + 8, 1024n * 65_535n + 1n);
  }),
  bitmaps('directory-longest', undefined, (draft) => {
    setUint64(draft, bitmapsAt + 8, 1024n * 65_535n);
  }),
  bitmaps('directory-length-max', 'number-too-large', (draft) => {
    setUint64(draft, bitmapsAt + 8, top);
  }),
  bitmaps('directory-unaligned', 'extension-invalid', (draft) => {
    setUint64(draft, bitmapsAt + 16, 40_961n);
  }),
  bitmaps('directory-far', undefined, (draft) => {
    setUint64(draft, bitmapsAt + 16, 2n ** 50n);
  }),
  bitmaps('directory-is-l1', undefined, (draft) => {
    setUint64(draft, bitmapsAt + 16, BigInt(at(draft, place.l1Table, 0)));
  }),
  bitmaps('entry-name-long', undefined, (draft) => {
    draft.bytes.fill(0xff, at(draft, place.bitmapDirectory, 18), at(draft, place.bitmapDirectory, 20));
  }),
  bitmaps('entry-extra-max', undefined, (draft) => {
    setUint32(draft, at(draft, place.bitmapDirectory, 20), 0xffff_ffff);
  }),
  bitmaps('entry-table-huge', undefined, (draft) => {
    setUint32(draft, at(draft, place.bitmapDirectory, 8), 0x800_0000);
  }),
  bitmaps('entry-table-too-huge', undefined, (draft) => {
    setUint32(draft, at(draft, place.bitmapDirectory, 8), 0xffff_ffff);
  }),
  bitmaps('entry-table-far', undefined, (draft) => {
    setUint64(draft, at(draft, place.bitmapDirectory, 0), top);
  }),
  bitmaps('entry-table-is-itself', undefined, (draft) => {
    setUint64(draft, at(draft, place.bitmapTable, 0), BigInt(at(draft, place.bitmapTable, 0)));
  }),
  bitmaps('table-garbage', undefined, (draft) => {
    draft.bytes.fill(0xff, at(draft, place.bitmapTable, 0));
  }),
];

/** The sound image cut at both ends of, and inside, everything it has. */
const cuts: readonly HostileImage[] = [
  0, 1, 3, 4, 7, 8, 20, 71, 72, 100, 103, 104, 111, 112, 116, 130, 4095, 4096, 4097, 8191, 8192, 8200, 12_288, 12_290,
  16_384, 16_400, 20_480, 24_576, 28_672, 28_680, 32_768, 32_780, 32_808, 32_830, 36_864, 36_868, 40_960, 40_970,
  45_056, 45_060,
].map((length) => ({
  id: `cut-${length}`,
  bytes: soundImage(commonChoice).bytes.slice(0, length),
  openFault: length < 112 ? 'header-truncated' : undefined,
}));

export const hostileHeaders: readonly HostileImage[] = [...fields, ...backingNames, ...extensions, ...cuts];
