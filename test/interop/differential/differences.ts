// Where we differ from QEMU 7.2 on purpose: each with its row, what QEMU does, and what we do instead.

export interface Difference {
  /** The row or trap of the format reference, explained in docs/format.md. */
  readonly row: string;
  readonly qemu: string;
  readonly ours: string;
}

/**
 * Every one is shown by `differences.test.ts`. The streams meet T15 and T06, which are undone in the twin, and REF-13, which the twin
 * is spared; they keep away from the others.
 */
export const differences = {
  staleTail: {
    row: 'T15',
    qemu: 'shrinking to the middle of a cluster and growing again shows the old bytes of that cluster',
    ours: 'what lies behind the end reads as zeroes when the disk grows over it',
  },
  staleVmState: {
    row: 'OPS-22, T16',
    qemu: 'growing over VM state that was left in the active L1 table shows it as data of the disk',
    ours: 'L2 tables behind the end are dropped before the disk grows over them',
  },
  copiedHead: {
    row: 'OPS-18',
    qemu: 'growing with falloc over a longer layer copies into the cluster of the old end, with extended entries, too',
    ours: 'what lies below in front of the old end stays visible through its subclusters',
  },
  freedBytes: {
    row: 'T06',
    qemu: 'growing with preallocation takes freed clusters as they are, and shows what they held',
    ours: 'clusters that were used before are overwritten with zeroes first',
  },
  snapshotSize: {
    row: 'T71',
    qemu: 'a snapshot is read at the current size of the disk',
    ours: 'a snapshot is read at its own size',
  },
  packedBehind: {
    row: 'REF-13',
    qemu: 'packing goes on behind a blob whose cluster was freed and holds other data by now, which is overwritten',
    ours: 'a cluster that was freed is no place for blobs any more',
  },
  reservedNoise: {
    row: 'CRE-05',
    qemu: 'what is reserved in an encrypted image reads as noise: its zeroes are decrypted',
    ours: 'reserved clusters of an encrypted image read as zeroes',
  },
  expandedNoise: {
    row: 'AMD-02',
    qemu: 'going to version 2 makes noise of the zero clusters of an encrypted image',
    ours: 'they become encrypted zeroes',
  },
  shownBase: {
    row: 'OPS-35',
    qemu: 'a safe rebase of a version 2 disk that stands on nothing shows the new base wherever the disk had no clusters',
    ours: 'what the disk had no clusters for still reads as zeroes',
  },
  lostSnapshots: {
    row: 'CHK-02',
    qemu: 'a repair of an image with bitmaps takes all snapshots out of the header, also where nothing is wrong',
    ours: 'a repair keeps the snapshots',
  },
} as const satisfies Record<string, Difference>;
