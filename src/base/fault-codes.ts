// The one table of expected failures. Codes are what code branches on; the wire form is made in src/http/problem.ts.

/**
 * The family of a fault. `corrupt`: an image breaks its format; `unsupported`: a well-formed image wants what this
 * engine does not do; the others are named for what a client did or may do about it.
 */
export type FaultKind =
  | 'invalid'
  | 'unauthenticated'
  | 'forbidden'
  | 'not_found'
  | 'method_not_allowed'
  | 'timeout'
  | 'conflict'
  | 'locked'
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
  'encryption-unsupported': { kind: 'unsupported', title: 'The image is encrypted in a way that is unknown here' },
  'wrong-passphrase': { kind: 'unprocessable', title: 'The passphrase does not open the image' },
  'passphrase-required': { kind: 'unprocessable', title: 'The image is encrypted and its passphrase is not given' },
  'luks-header-invalid': { kind: 'corrupt', title: 'The LUKS header breaks its rules' },
  'encryption-method-invalid': { kind: 'corrupt', title: 'The encryption method is unknown' },
  'data-file-invalid': { kind: 'corrupt', title: 'The feature bits of the external data file disagree' },
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
  'virtual-size-too-large': { kind: 'unsupported', title: 'The virtual size is 8 PiB or more' },
  'host-offset-invalid': { kind: 'corrupt', title: 'An offset points outside the places where clusters may be' },
  'compressed-data-invalid': { kind: 'corrupt', title: 'A compressed cluster cannot be unpacked' },

  // engine/file, engine/layer
  'io-error': { kind: 'internal', title: 'The file system failed' },
  'insufficient-storage': { kind: 'storage', title: 'There is not enough space' },
  'backing-refused': { kind: 'unprocessable', title: 'The image names a backing file that it may not open' },
  'data-file-refused': { kind: 'unprocessable', title: 'The image keeps its data in a file that it may not open' },
  'data-file-missing': { kind: 'conflict', title: 'The data file of the image is not there' },
  'backing-missing': { kind: 'corrupt', title: 'The backing file of the image is not there' },

  // engine/metadata, engine/allocation, engine/mapping: found while the image is used
  'image-marked-corrupt': { kind: 'corrupt', title: 'The image is marked as corrupt' },
  'metadata-overlap': { kind: 'corrupt', title: 'A write would have hit metadata' },
  'refcount-underflow': { kind: 'corrupt', title: 'A cluster was to be released more often than it was used' },
  'refcount-overflow': { kind: 'conflict', title: 'A cluster is used as often as the refcount width can count' },
  'image-full': { kind: 'storage', title: 'The image file cannot grow beyond the limits of its format' },
  'header-full': { kind: 'conflict', title: 'The first cluster has no room for this change' },
  'image-read-only': { kind: 'conflict', title: 'The image can only be read' },

  // engine/operations
  'range-not-satisfiable': { kind: 'range', title: 'The bytes asked for cannot be served' },
  'invalid-geometry': { kind: 'unprocessable', title: 'The sizes do not go together' },
  'unsupported-option': { kind: 'unprocessable', title: 'The option is not supported' },
  'shrink-not-allowed': { kind: 'conflict', title: 'The new size is smaller and shrinking was not allowed' },
  'snapshots-prevent-resize': { kind: 'conflict', title: 'A version 2 image with snapshots cannot be resized' },
  'snapshots-need-backing': { kind: 'conflict', title: 'Snapshots of the image read what lies below it' },
  'bitmaps-prevent-revert': { kind: 'conflict', title: 'An image with bitmaps cannot be reverted' },
  'bitmap-inconsistent': { kind: 'conflict', title: 'A bitmap of the image is not consistent' },
  'bitmap-not-found': { kind: 'not_found', title: 'No such bitmap' },
  'snapshot-not-found': { kind: 'not_found', title: 'No such snapshot' },
  'too-many-snapshots': { kind: 'conflict', title: 'The image has as many snapshots as the format allows' },
  'export-stale': { kind: 'precondition', title: 'The image has changed since its file was laid out' },
  'unsafe-image': { kind: 'unprocessable', title: 'The file cannot be taken in as it is' },

  // pool
  'engine-busy': { kind: 'unavailable', title: 'The engine has too much to do' },
  'engine-lost': { kind: 'unavailable', title: 'The engine thread ended before it answered' },
  'image-failed': { kind: 'internal', title: 'The image was closed because of an internal error' },

  // catalog, store, services: what the product cannot do for a client
  'catalog-too-new': { kind: 'unsupported', title: 'The catalog was written by a later version' },
  'image-not-found': { kind: 'not_found', title: 'No such image' },
  'name-conflict': { kind: 'conflict', title: 'The name is taken' },
  'image-not-ready': { kind: 'conflict', title: 'The image cannot be used in its state' },
  'image-in-use': { kind: 'conflict', title: 'The image is in use' },
  'image-detached': { kind: 'conflict', title: 'The image is detached' },
  'image-protected': { kind: 'conflict', title: 'The image is protected' },
  'image-has-dependents': { kind: 'conflict', title: 'Other images are built on this image' },
  'chain-too-deep': { kind: 'conflict', title: 'The backing chain is too deep' },
  'size-mismatch': { kind: 'unprocessable', title: 'The body is not as long as the image' },
  'content-range-mismatch': { kind: 'invalid', title: 'The body is not as long as its Content-Range says' },
  'digest-mismatch': { kind: 'invalid', title: 'The body does not have the digest that was announced' },
  'image-locked': { kind: 'locked', title: 'Somebody holds a lease on the image' },
  'too-many-leases': { kind: 'conflict', title: 'The image has as many leases as it may have' },
  'lease-lost': { kind: 'precondition', title: 'The lease does not hold any more' },
  'fencing-token-stale': { kind: 'precondition', title: 'The fencing token is not the current one' },
  'job-not-found': { kind: 'not_found', title: 'No such job' },
  'job-not-cancellable': { kind: 'conflict', title: 'The job has ended' },
  'job-interrupted': { kind: 'conflict', title: 'The job was interrupted by a restart' },
  'idempotency-in-progress': { kind: 'conflict', title: 'The first request with this key is still under way' },
  'idempotency-key-reused': { kind: 'unprocessable', title: 'The key was used for another request' },
  'writes-lost': { kind: 'conflict', title: 'Changes that were not flushed may have been lost' },

  // http, routes: what is wrong with a request
  'invalid-request': { kind: 'invalid', title: 'The request is not valid' },
  'invalid-content-range': { kind: 'invalid', title: 'The Content-Range is not valid' },
  'route-not-found': { kind: 'not_found', title: 'No such route' },
  'method-not-allowed': { kind: 'method_not_allowed', title: 'The route does not know this method' },
  'request-timeout': { kind: 'timeout', title: 'The request took too long to arrive' },
  'precondition-failed': { kind: 'precondition', title: 'A precondition of the request does not hold' },
  'quota-exceeded': { kind: 'too_large', title: 'The quota of the service is used up' },
  'content-too-large': { kind: 'too_large', title: 'The body is too large' },
  'uri-too-long': { kind: 'uri_too_long', title: 'The URI is too long' },
  'headers-too-large': { kind: 'headers_too_large', title: 'The headers are too large' },
  'unsupported-media-type': { kind: 'media_type', title: 'The body has a media type that is not taken here' },
  'unauthenticated': { kind: 'unauthenticated', title: 'The request brings no token that is known here' },
  'forbidden': { kind: 'forbidden', title: 'The request is not allowed' },
  'draining': { kind: 'unavailable', title: 'The service is stopping' },
  'not-ready': { kind: 'unavailable', title: 'The service cannot serve yet' },
  'internal': { kind: 'internal', title: 'An internal error' },
} as const satisfies Record<string, FaultRow>;

/** A code of the table. */
export type FaultCode = keyof typeof faultCodes;
