// The one table of expected failures. Codes are what code branches on; the wire form is made in src/http/problem.ts.

/**
 * The family of a fault. `corrupt`: an image breaks its format; `unsupported`: a well-formed image wants what this
 * engine does not do; the others are named for what a client did or may do about it.
 */
export type FaultKind =
  | 'invalid'
  | 'forbidden'
  | 'not_found'
  | 'method_not_allowed'
  | 'timeout'
  | 'conflict'
  | 'precondition'
  | 'too_large'
  | 'uri_too_long'
  | 'headers_too_large'
  | 'media_type'
  | 'range'
  | 'unprocessable'
  | 'corrupt'
  | 'unsupported'
  | 'internal'
  | 'unavailable'
  | 'storage';

/** One row: the family, and a title that names the situation in a few words. */
export interface FaultRow {
  readonly kind: FaultKind;
  readonly title: string;
}

// One block a room; rooms add rows to their own block.
export const faultCodes = {
  // engine/format, engine/metadata: the image breaks the format
  'magic-wrong': { kind: 'corrupt', title: 'The file does not start with the QCOW2 magic' },
  'version-unsupported': { kind: 'unsupported', title: 'The QCOW2 version is neither 2 nor 3' },
  'header-truncated': { kind: 'corrupt', title: 'The file ends inside the header' },
  'header-length-invalid': { kind: 'corrupt', title: 'The header length is out of bounds' },
  'cluster-bits-invalid': { kind: 'corrupt', title: 'The cluster size is out of bounds' },
  'refcount-order-invalid': { kind: 'corrupt', title: 'The refcount width is out of bounds' },
  'number-too-large': { kind: 'corrupt', title: 'A 64-bit number in the image is 2^53 or more' },
  'backing-name-invalid': { kind: 'corrupt', title: 'The backing file name lies outside its place' },
  'compression-type-invalid': { kind: 'corrupt', title: 'Compression type and its feature bit disagree' },
  'compression-type-unknown': { kind: 'unsupported', title: 'The compression type is unknown' },
  'feature-unknown': { kind: 'unsupported', title: 'The image uses incompatible features that are unknown here' },
  'encryption-unsupported': { kind: 'unsupported', title: 'The image is encrypted' },
  'encryption-method-invalid': { kind: 'corrupt', title: 'The encryption method is unknown' },
  'data-file-unsupported': { kind: 'unsupported', title: 'The image keeps its data in an external file' },
  'subcluster-size-invalid': { kind: 'corrupt', title: 'Extended L2 entries need clusters of 16 KiB or more' },
  'extension-invalid': { kind: 'corrupt', title: 'A header extension breaks its rules' },
  'l1-table-invalid': { kind: 'corrupt', title: 'The L1 table breaks its limits' },
  'l1-table-too-small': { kind: 'corrupt', title: 'The L1 table is too small for the virtual size' },
  'l1-entry-invalid': { kind: 'corrupt', title: 'An L1 entry is not aligned to a cluster' },
  'l2-entry-invalid': { kind: 'corrupt', title: 'An L2 entry breaks its rules' },
  'refcount-table-invalid': { kind: 'corrupt', title: 'The refcount table breaks its limits' },
  'refcount-entry-invalid': { kind: 'corrupt', title: 'A refcount table entry is not aligned to a cluster' },
  'snapshot-table-invalid': { kind: 'corrupt', title: 'The snapshot table breaks its limits' },
  'bitmap-directory-invalid': { kind: 'corrupt', title: 'The bitmap directory breaks its limits' },
  'virtual-size-too-large': { kind: 'unsupported', title: 'The virtual size is above 8 PiB' },

  // catalog, store, services: what the product cannot do for a client
  'catalog-too-new': { kind: 'unsupported', title: 'The catalog was written by a later version' },
  'image-not-found': { kind: 'not_found', title: 'No such image' },
  'snapshot-not-found': { kind: 'not_found', title: 'No such snapshot' },
  'name-conflict': { kind: 'conflict', title: 'The name is taken' },
  'image-not-ready': { kind: 'conflict', title: 'The image cannot be used in its state' },
  'insufficient-storage': { kind: 'storage', title: 'There is not enough space' },
  'image-has-dependents': { kind: 'conflict', title: 'Other images are built on this image' },
} as const satisfies Record<string, FaultRow>;

/** A code of the table. */
export type FaultCode = keyof typeof faultCodes;
