// What each operation promises beside its parameters and bodies: the one table that the document shows and that the
// tests of the routes hold every answer against.

import type { DocumentFacts, OperationContract } from '../src/http/openapi-document.ts';

type Problems = OperationContract['problems'];

/** What comes with a header, whatever the operation. */
export const headerProblems: DocumentFacts['headerProblems'] = {
  'Lease-Id': ['lease-lost'],
  'Fencing-Token': ['fencing-token-stale'],
  'Image-Passphrase': ['passphrase-required', 'wrong-passphrase'],
  'Idempotency-Key': ['idempotency-in-progress', 'idempotency-key-reused'],
  'If-Match': ['precondition-failed'],
  'If-None-Match': ['precondition-failed'],
  'Content-Range': ['invalid-content-range', 'content-range-mismatch', 'range-not-satisfiable'],
  'Content-Digest': ['digest-mismatch'],
  'Range': ['range-not-satisfiable'],
};

/** What comes with a body of JSON, or where one is refused. */
const bodyProblems = ['content-too-large'] as const satisfies Problems;

/** The file of an image is opened. */
const openProblems = [
  // Another program has changed which files it names.
  'unsafe-image',
  'image-not-found',
  'image-not-ready',
  'image-detached',
  'image-in-use',
  'data-file-missing',
  'image-corrupt',
  'unsupported-option',
  'insufficient-storage',
  'io-error',
  'engine-busy',
  'engine-lost',
] as const satisfies Problems;

/** The file of an image is changed. */
const changeProblems = [
  ...openProblems,
  ...bodyProblems,
  'image-has-dependents',
  'image-locked',
  'image-read-only',
  'quota-exceeded',
] as const satisfies Problems;

/** A file is made. */
const makeProblems = [
  'name-conflict',
  'image-locked',
  'image-not-found',
  'image-not-ready',
  'image-detached',
  'image-in-use',
  'data-file-missing',
  'image-corrupt',
  'chain-too-deep',
  'header-full',
  'unsupported-option',
  'quota-exceeded',
  'insufficient-storage',
  'io-error',
  'engine-busy',
  'engine-lost',
] as const satisfies Problems;

const jobHeaders = ['Location', 'Retry-After', 'Preference-Applied?'] as const;
const receiptHeaders = ['Image-Generation', 'Write-Epoch'] as const;
const contentHeaders = ['ETag', 'Image-Generation', 'Accept-Ranges', 'Cache-Control'] as const;

const readTakes = [
  'Image-Passphrase',
  'Range',
  'If-Range',
  'If-Match',
  'If-None-Match',
  'Want-Content-Digest',
] as const;

/** An answer of bytes. */
function contentAnswers(...more: OperationContract['sends'][string]): OperationContract['sends'] {
  const sent = [...contentHeaders, ...more];
  return {
    200: [...sent, 'Content-Length', 'Content-Digest?'],
    206: [...sent, 'Content-Length', 'Content-Range?', 'Content-Digest?'],
    304: sent,
  };
}

/** Long work on an image: a job when it takes longer than the client waits. */
function longWork(
  success: number,
  options: {
    readonly takes?: OperationContract['takes'];
    readonly sends?: OperationContract['sends'][string];
    readonly problems?: Problems;
  } = {},
): OperationContract {
  return {
    takes: ['Prefer', ...(options.takes ?? [])],
    sends: { [success]: [...(options.sends ?? []), 'Preference-Applied?'], 202: jobHeaders },
    problems: [...changeProblems, ...(options.problems ?? [])],
  };
}

/** An operation that only shows something. */
function shows(...problems: Problems): OperationContract {
  return { takes: [], sends: {}, problems };
}

function changesBitmap(): OperationContract {
  return {
    takes: [],
    sends: {},
    problems: [...changeProblems, 'bitmap-not-found', 'bitmap-inconsistent', 'header-full'],
  };
}

const changesData = longWork(204, {
  takes: ['Image-Passphrase'],
  sends: receiptHeaders,
  problems: ['range-not-satisfiable'],
});

const contracts: ReadonlyMap<string, OperationContract> = new Map<string, OperationContract>([
  ['getWelcome', shows()],
  ['getLiveness', shows()],
  ['getReadiness', shows('not-ready')],
  ['getOpenApi', shows()],
  ['listProblems', shows()],
  ['getProblem', shows('route-not-found')],
  ['getServiceInfo', shows()],
  ['getMetrics', shows('io-error')],
  ['getUsage', shows('io-error')],

  [
    'createImage',
    {
      takes: ['Idempotency-Key', 'Prefer'],
      sends: { 201: ['Location', 'ETag', 'Preference-Applied?'], 202: jobHeaders },
      problems: [...bodyProblems, ...makeProblems, 'invalid-geometry'],
    },
  ],
  [
    'copyImage',
    {
      takes: ['Idempotency-Key', 'Prefer', 'Image-Passphrase'],
      sends: { 201: ['Location', 'ETag', 'Preference-Applied?'], 202: jobHeaders },
      problems: [...bodyProblems, ...makeProblems, 'invalid-geometry', 'snapshot-not-found'],
    },
  ],
  ['listImages', shows('image-not-found')],
  [
    'getImage',
    {
      takes: ['If-None-Match', 'If-Match'],
      sends: { 200: ['ETag'], 304: ['ETag'] },
      problems: ['image-not-found'],
    },
  ],
  [
    'updateImage',
    {
      takes: ['If-Match', 'If-None-Match'],
      sends: { 200: ['ETag'] },
      problems: [...bodyProblems, 'image-not-found', 'image-not-ready', 'name-conflict', 'image-locked'],
    },
  ],
  [
    'deleteImage',
    { takes: ['If-Match', 'If-None-Match'], sends: {}, problems: [...changeProblems, 'image-protected'] },
  ],
  ['getChain', shows('image-not-found')],
  [
    'resizeImage',
    longWork(200, {
      takes: ['Image-Passphrase'],
      sends: ['ETag'],
      problems: [
        'image-protected',
        'invalid-geometry',
        'shrink-not-allowed',
        'snapshots-prevent-resize',
        'bitmap-inconsistent',
      ],
    }),
  ],
  ['checkImage', longWork(200)],
  [
    'amendImage',
    longWork(200, { takes: ['Image-Passphrase'], sends: ['ETag'], problems: ['refcount-overflow', 'header-full'] }),
  ],
  ['compactImage', longWork(200, { takes: ['Image-Passphrase'] })],
  ['emptyImage', longWork(200, { sends: ['ETag'], problems: ['image-protected'] })],
  [
    'commitImage',
    longWork(200, {
      takes: ['Image-Passphrase'],
      sends: ['ETag'],
      problems: ['image-protected', 'snapshots-need-backing', 'snapshots-prevent-resize', 'bitmap-inconsistent'],
    }),
  ],
  [
    'rebaseImage',
    longWork(200, {
      takes: ['Image-Passphrase'],
      sends: ['ETag'],
      problems: ['snapshots-need-backing', 'chain-too-deep', 'header-full'],
    }),
  ],
  [
    'flattenImage',
    longWork(200, {
      takes: ['Image-Passphrase'],
      sends: ['ETag'],
      problems: ['snapshots-need-backing', 'header-full'],
    }),
  ],
  [
    'digestImage',
    {
      ...longWork(200, { takes: ['Image-Passphrase'] }),
      problems: [...openProblems, ...bodyProblems, 'snapshot-not-found'],
    },
  ],
  [
    'compareImages',
    {
      ...longWork(200, { takes: ['Image-Passphrase'] }),
      problems: [...openProblems, ...bodyProblems],
    },
  ],
  ['measureImage', shows(...openProblems, ...bodyProblems, 'invalid-geometry', 'snapshot-not-found')],
  ['getImageInfo', shows(...openProblems)],
  ['updateImageRuntime', shows(...changeProblems)],
  ['unlockImage', shows(...openProblems, ...bodyProblems, 'wrong-passphrase')],
  ['lockImage', shows(...bodyProblems, 'image-not-found')],
  ['detachImage', { takes: [], sends: { 200: ['ETag'] }, problems: changeProblems }],
  [
    'attachImage',
    { takes: [], sends: { 200: ['ETag'] }, problems: [...openProblems, ...bodyProblems, 'image-locked'] },
  ],

  ['readImageData', { takes: readTakes, sends: contentAnswers(), problems: openProblems }],
  [
    'writeImageData',
    {
      takes: ['Image-Passphrase', 'Content-Range', 'Content-Digest', 'If-Match', 'If-None-Match'],
      sends: { 204: ['ETag', ...receiptHeaders] },
      problems: [...changeProblems, 'content-range-mismatch', 'refcount-overflow', 'size-mismatch'],
    },
  ],
  ['zeroImageData', changesData],
  ['discardImageData', changesData],
  [
    'flushImage',
    {
      takes: [],
      sends: { 204: receiptHeaders },
      problems: [...openProblems, ...bodyProblems, 'image-read-only', 'writes-lost'],
    },
  ],
  [
    'listExtents',
    {
      takes: [],
      sends: { 200: ['Image-Generation'] },
      problems: [...openProblems, 'range-not-satisfiable', 'snapshot-not-found'],
    },
  ],

  [
    'createSnapshot',
    {
      takes: ['Idempotency-Key', 'Prefer'],
      sends: { 201: ['Location', 'Preference-Applied?'], 202: jobHeaders },
      problems: [...changeProblems, 'name-conflict', 'refcount-overflow', 'too-many-snapshots', 'bitmap-inconsistent'],
    },
  ],
  ['listSnapshots', shows(...openProblems)],
  ['getSnapshot', shows(...openProblems, 'snapshot-not-found')],
  ['deleteSnapshot', longWork(204, { problems: ['snapshot-not-found'] })],
  [
    'revertSnapshot',
    longWork(200, {
      sends: ['ETag'],
      problems: ['snapshot-not-found', 'bitmaps-prevent-revert', 'refcount-overflow', 'unsupported-option'],
    }),
  ],
  [
    'readSnapshotData',
    {
      takes: readTakes,
      sends: contentAnswers(),
      problems: [...openProblems, 'snapshot-not-found'],
    },
  ],
  [
    'readVmState',
    {
      takes: readTakes,
      sends: contentAnswers(),
      problems: [...openProblems, 'snapshot-not-found'],
    },
  ],
  [
    'writeVmState',
    {
      takes: ['Image-Passphrase', 'Content-Digest'],
      sends: { 204: ['ETag'] },
      problems: [...changeProblems, 'snapshot-not-found', 'content-range-mismatch'],
    },
  ],
  [
    'listSnapshotExtents',
    {
      takes: [],
      sends: { 200: ['Image-Generation'] },
      problems: [...openProblems, 'range-not-satisfiable', 'snapshot-not-found'],
    },
  ],

  [
    'createBitmap',
    {
      takes: ['Idempotency-Key'],
      sends: { 201: ['Location'] },
      problems: [...changeProblems, 'name-conflict', 'invalid-geometry', 'header-full'],
    },
  ],
  ['listBitmaps', shows(...openProblems)],
  ['getBitmap', shows(...openProblems, 'bitmap-not-found')],
  ['updateBitmap', changesBitmap()],
  ['deleteBitmap', changesBitmap()],
  ['clearBitmap', changesBitmap()],
  ['mergeBitmaps', changesBitmap()],
  [
    'listDirtyExtents',
    {
      takes: [],
      sends: { 200: ['Image-Generation'] },
      problems: [...openProblems, 'range-not-satisfiable', 'bitmap-not-found', 'bitmap-inconsistent'],
    },
  ],

  ['listJobs', shows()],
  ['getJob', shows('job-not-found')],
  ['cancelJob', shows(...bodyProblems, 'job-not-found', 'job-not-cancellable')],

  [
    'acquireLease',
    {
      takes: ['Idempotency-Key'],
      sends: {},
      problems: [
        ...bodyProblems,
        'image-not-found',
        'image-not-ready',
        'image-detached',
        'image-locked',
        'too-many-leases',
      ],
    },
  ],
  ['listLeases', shows('image-not-found')],
  ['renewLease', shows(...bodyProblems, 'image-not-found', 'lease-lost')],
  ['releaseLease', shows(...bodyProblems, 'image-not-found')],
  ['breakLease', shows(...bodyProblems, 'image-not-found')],

  [
    'importImage',
    {
      takes: ['Prefer', 'Image-Passphrase'],
      sends: { 201: ['Location', 'ETag', 'Preference-Applied?'], 202: jobHeaders },
      problems: [...makeProblems, 'content-range-mismatch', 'digest-mismatch', 'invalid-geometry', 'unsafe-image'],
    },
  ],
  [
    'exportImage',
    {
      takes: readTakes,
      sends: contentAnswers('Content-Disposition'),
      problems: [...openProblems, 'snapshot-not-found', 'quota-exceeded'],
    },
  ],
]);

/** What an operation promises; undefined for one that has no row yet. */
export function contractOf(operation: string): OperationContract | undefined {
  return contracts.get(operation);
}
