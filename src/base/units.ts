// Units of length in bytes.

export const KiB = 1024;
export const MiB = 1024 * KiB;
export const GiB = 1024 * MiB;
export const TiB = 1024 * GiB;
export const PiB = 1024 * TiB;

/** The smallest unit that a disk tears: a sector of 512 bytes. */
export const sectorSize = 512;
