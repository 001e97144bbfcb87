// What every problem says to a person: its cause, its cure, and the facts that a client is shown.

import type { faultCodes, FaultCode } from '../base/fault-codes.ts';
import { imageProblemTexts } from './image-problem-texts.ts';
import { jobProblemTexts } from './job-problem-texts.ts';
import { keyProblemTexts } from './key-problem-texts.ts';
import { listOf, optionOf, textOf, violationOf } from './problem-text.ts';
import type { ProblemText } from './problem-text.ts';
import type { RequestError } from './schema.ts';

type CodeOfKind<Kind extends string> = {
  [Code in FaultCode]: (typeof faultCodes)[Code]['kind'] extends Kind ? Code : never;
}[FaultCode];

/** Codes that clients know by another name, because they cannot act on the difference. */
export const renamedCodes = {
  'backing-refused': 'unsafe-image',
  'data-file-refused': 'unsafe-image',
  'export-stale': 'precondition-failed',
  'image-failed': 'internal',
  'image-full': 'insufficient-storage',
} as const satisfies Partial<Record<FaultCode, FaultCode>>;

/**
 * The codes on the wire. Whatever is wrong with an image's own bytes is `image-corrupt`; whatever a sound image wants
 * of an engine that does not do it is `unsupported-option`.
 */
export type WireCode =
  'image-corrupt' | Exclude<FaultCode, CodeOfKind<'corrupt' | 'unsupported'> | keyof typeof renamedCodes>;

export const problemTexts = {
  'invalid-request': {
    cause: 'A part of the request is malformed: its URL, a header, a query parameter or a member of the JSON body.',
    cure: 'Correct what `errors` names; each `pointer` leads to one value.',
    members: ['errors'],
    detail: (context) => {
      const [first] = listOf(context, 'errors') as readonly RequestError[];
      if (first === undefined) return undefined;
      const whole = first.in === 'body' ? 'The body' : 'The request:';
      return first.pointer === '' ? `${whole} ${first.message}.` : `${first.pointer}: ${first.message}.`;
    },
  },
  'invalid-content-range': {
    cause:
      'The Content-Range header is not `bytes first-last/size` or `bytes first-last/*`, or its size is not the size of the image.',
    cure: 'Send `Content-Range: bytes first-last/*`; `last` is the offset of the last byte of the body.',
    members: ['size'],
    detail: (context) =>
      context['size'] === undefined ? undefined : `The image holds ${textOf(context, 'size')} bytes.`,
  },
  'content-range-mismatch': {
    cause: 'The body is longer or shorter than its Content-Range or its Content-Length says.',
    cure: 'Send exactly last-first+1 bytes. `written` says how many bytes from the start were written.',
    members: ['expected', 'received', 'written'],
    detail: (context) =>
      `${textOf(context, 'expected')} bytes were announced and ${textOf(context, 'received')} arrived.`,
  },
  'digest-mismatch': {
    cause: 'The bytes that arrived do not have the digest that the request announced.',
    cure: 'Compare the digest of the source with the one that was sent, then send the bytes again.',
    members: ['expected', 'actual', 'written'],
    detail: undefined,
  },
  'unauthenticated': {
    cause: 'The service asks for tokens, and the request brings none, or one that is not in its list.',
    cure: 'Send `Authorization: Bearer <token>` with a token that the operator of the service has listed.',
    members: [],
    detail: (context) =>
      context['given'] === 'unknown' ? 'The token is not known here.' : 'The request brings no token.',
  },
  'forbidden': {
    cause:
      'With tokens: the scope of the token is too small for the operation. Without tokens: the request does not come from this machine, or from a web page of another origin.',
    cure: 'With tokens, use one whose scope covers the operation (read, write, admin). Without, use a loopback name such as 127.0.0.1 or localhost, or put the name that you use into QCOWD_HOSTS.',
    members: ['host', 'origin', 'scope', 'neededScope'],
    detail: (context) => {
      if (context['neededScope'] !== undefined) {
        return `The operation needs the scope ${textOf(context, 'neededScope')}, and the token ${textOf(context, 'token')} has ${textOf(context, 'scope')}.`;
      }
      if (context['origin'] !== undefined) return `The origin ${textOf(context, 'origin')} is foreign here.`;
      return context['host'] === undefined ? undefined : `The host ${textOf(context, 'host')} is foreign here.`;
    },
  },
  'image-not-found': {
    cause: 'No image has this id or name, or it was deleted.',
    cure: 'List the images with GET /v1/images.',
    members: ['image'],
    detail: (context) =>
      context['image'] === undefined ? undefined : `There is no image ${textOf(context, 'image')}.`,
  },
  'snapshot-not-found': {
    cause: 'The image has no snapshot with this id or name.',
    cure: 'List them with GET /v1/images/{image}/snapshots.',
    members: ['snapshot'],
    detail: (context) =>
      context['snapshot'] === undefined ? undefined : `There is no snapshot ${textOf(context, 'snapshot')}.`,
  },
  'route-not-found': {
    cause: 'The service has nothing at this path.',
    cure: 'See /openapi.json for all paths; the API starts at /v1, and no path ends with a slash.',
    members: [],
    detail: undefined,
  },
  'method-not-allowed': {
    cause: 'The path exists, but not with this method; or the method is CONNECT, and this service opens no tunnels.',
    cure: 'Use one of the methods that the Allow header names; where it is empty there is none.',
    members: [],
    detail: (context) => {
      const allow = listOf(context, 'allow');
      return allow.length === 0 ? 'This service opens no tunnels.' : `Allowed: ${allow.join(', ')}.`;
    },
  },
  'request-timeout': {
    cause: 'The request, or the next part of its body, did not arrive in time.',
    cure: 'Send the request again without long pauses; a large body may be sent as several ranges.',
    members: ['written'],
    detail: undefined,
  },
  'name-conflict': {
    cause: 'Another image, or another snapshot of the same image, has this name.',
    cure: 'Choose another name, or delete what has it.',
    members: ['name'],
    detail: (context) => (context['name'] === undefined ? undefined : `The name ${textOf(context, 'name')} is taken.`),
  },
  'image-read-only': {
    cause: 'The image can only be read: its file is not writable, or an earlier write to it failed.',
    cure: 'See to the storage below the data directory; the image is opened again on a later request.',
    members: [],
    detail: undefined,
  },
  'image-has-dependents': {
    cause: 'Overlays are built on the image. A change below them would change what they show.',
    cure: 'Change an overlay instead, or set the overlays free first: flatten them, put them on another image with rebase, or delete them.',
    members: ['dependents'],
    detail: (context) => {
      const dependents = listOf(context, 'dependents') as readonly { name: string }[];
      const names = dependents.slice(0, 5).map(({ name }) => name);
      if (names.length === 0) return undefined;
      const image = context['name'] === undefined ? 'it' : textOf(context, 'name');
      return `Built on ${image}: ${names.join(', ')}.`;
    },
  },
  'image-locked': {
    cause:
      'A lease is held on the image. An exclusive one keeps out every change without its Lease-Id, every new overlay on the image, which would make it immutable for its holder, and every other lease; a shared one keeps out all changes and exclusive leases. Reads go on.',
    cure: 'Wait until `holder.expiresAt` and try again; the holder sends its `Lease-Id` with the change, renews with POST /v1/images/{image}/leases/{lease}/renew, or releases the lease (rebase and commit take the Lease-Id of the image in their path, so the images below must be released first); POST /v1/images/{image}/leases/break ends leases that nobody gives back.',
    members: ['holder', 'written'],
    detail: (context) => {
      const { holder } = context as { readonly holder?: { mode: string; owner: string | null; expiresAt: string } };
      if (holder === undefined) return undefined;
      const whom = holder.owner === null ? '' : ` by ${holder.owner}`;
      const image = context['overlays'] === true ? 'The image that is to be the backing image' : 'The image';
      return `${image} is leased ${holder.mode === 'shared' ? 'shared, so that nothing changes,' : 'exclusively'}${whom} until ${holder.expiresAt}.`;
    },
  },
  'too-many-leases': {
    cause: 'The image has as many shared leases at the same time as an image may have.',
    cure: 'Release leases that nobody needs any more, or wait until one ends (GET /v1/images/{image}/leases shows when); readers that share a process can share a lease, and reads need none.',
    members: ['leasesMax'],
    detail: (context) => `There are ${textOf(context, 'leasesMax')}.`,
  },
  'lease-lost': {
    cause:
      'The Lease-Id is not that of a live lease of this image: the lease was released or broken, was not used for its whole period, or never was.',
    cure: 'Acquire a new lease, and find out what changed meanwhile before going on: `generation` tells whether anything did.',
    members: ['written'],
    detail: (context) =>
      context['breaking'] === true ? 'The lease is being broken and can only be used up, not be renewed.' : undefined,
  },
  'fencing-token-stale': {
    cause: 'A newer exclusive lease has been granted, or the leases changed while the change was waiting.',
    cure: 'Do not repeat the change with this token: acquire a new lease, and find out what changed meanwhile before going on.',
    members: ['fencingToken', 'written'],
    detail: (context) =>
      context['fencingToken'] === undefined
        ? undefined
        : `The current fencing token is ${textOf(context, 'fencingToken')}.`,
  },
  'writes-lost': {
    cause: 'The service has lost the image since the write epoch began; changes that were not flushed may be gone.',
    cure: 'Read back what was written since the last flush, or write it again, and go on with the current Write-Epoch.',
    members: ['writeEpoch'],
    detail: (context) =>
      context['writeEpoch'] === undefined ? undefined : `The epoch is now ${textOf(context, 'writeEpoch')}.`,
  },
  'shrink-not-allowed': {
    cause: 'The new size is smaller than the image, which would cut guest data off.',
    cure: 'Send `allowShrink: true` if the data beyond the new size may go.',
    members: ['virtualSize'],
    detail: undefined,
  },
  'snapshots-prevent-resize': {
    cause:
      'An image of version 2 (compat 0.10) with snapshots cannot be resized, nor can a snapshot be cut off by shrinking.',
    cure: 'Delete the snapshots first, or make a version 2 image one of version 3: POST /v1/images/{image}/amend with `{"compat": "1.1"}`.',
    members: [],
    detail: undefined,
  },
  'bitmaps-prevent-revert': {
    cause: 'The image holds dirty bitmaps, which would be wrong after going back to a snapshot.',
    cure: 'Delete the bitmaps first (DELETE /v1/images/{image}/bitmaps/{bitmap}), and make a full backup before the next incremental one.',
    members: [],
    detail: undefined,
  },
  'bitmap-inconsistent': {
    cause: 'A dirty bitmap of the image would be wrong after the change, or was in use when its program ended.',
    cure: 'Remove the bitmap first, and make a full backup before the next incremental one.',
    members: ['bitmap', 'reason'],
    detail: (context) => (context['reason'] === undefined ? undefined : `${textOf(context, 'reason')}.`),
  },
  'refcount-overflow': {
    cause: 'A cluster would be used more often than the refcount width of the image can count.',
    cure: 'Widen the refcounts: POST /v1/images/{image}/amend with a larger `refcountBits`, 16 for most; or delete a snapshot first.',
    members: [],
    detail: undefined,
  },
  'header-full': {
    cause: 'The first cluster of the image has no room left for what the change would store there.',
    cure: 'Use a shorter backing chain name or an image with larger clusters.',
    members: [],
    detail: undefined,
  },
  'bitmap-not-found': {
    cause: 'The image has no dirty bitmap with this name.',
    cure: 'List them with GET /v1/images/{image}/bitmaps.',
    members: ['bitmap'],
    detail: (context) =>
      context['bitmap'] === undefined ? undefined : `There is no bitmap ${textOf(context, 'bitmap')}.`,
  },
  'too-many-snapshots': {
    cause: 'The image has as many snapshots as its format allows.',
    cure: 'Delete a snapshot first.',
    members: [],
    detail: undefined,
  },
  'precondition-failed': {
    cause:
      'The content is not the one that If-Match, If-None-Match or `generation` asked for, or it changed under way.',
    cure: 'Fetch the current ETag and start again from it; read a snapshot for content that stays.',
    members: ['generation', 'version'],
    detail: (context) => {
      if (context['version'] !== undefined) return `The version is now ${textOf(context, 'version')}.`;
      return context['generation'] === undefined
        ? undefined
        : `The content is now of generation ${textOf(context, 'generation')}.`;
    },
  },
  'quota-exceeded': {
    cause: 'All image files together would occupy more than QCOWD_QUOTA_BYTES allows.',
    cure: 'Delete images or snapshots, discard what guests no longer need, or ask the operator for more. `written` says how many bytes from the start of a body were written.',
    members: ['required', 'occupiedBytes', 'quotaBytes', 'written'],
    detail: (context) => `${textOf(context, 'occupiedBytes')} of ${textOf(context, 'quotaBytes')} bytes are occupied.`,
  },
  'content-too-large': {
    cause: 'The body is larger than the route takes.',
    cure: 'Send less; image bytes belong to the data and import routes, which take bodies of any length.',
    members: ['lengthMax'],
    detail: (context) =>
      context['lengthMax'] === undefined ? undefined : `At most ${textOf(context, 'lengthMax')} bytes are taken here.`,
  },
  'uri-too-long': {
    cause: 'The request line, or a name in its path, is longer than the service reads.',
    cure: 'Shorten the path or the query; move long values into a JSON body.',
    members: [],
    detail: undefined,
  },
  'headers-too-large': {
    cause: 'The headers are larger than the service reads.',
    cure: 'Send fewer or shorter headers.',
    members: [],
    detail: undefined,
  },
  'unsupported-media-type': {
    cause: 'The body has a Content-Type that the route does not take.',
    cure: 'Send JSON with `content-type: application/json`. Send image bytes bare, as `curl -T file` does, never as a form.',
    members: [],
    detail: (context) => {
      if (context['mediaType'] !== undefined) return `It is ${textOf(context, 'mediaType')}.`;
      if (context['contentEncoding'] === undefined) return undefined;
      return `It is packed with ${textOf(context, 'contentEncoding')}; send it without Content-Encoding.`;
    },
  },
  'range-not-satisfiable': {
    cause: 'The bytes asked for lie outside the content, or in more ranges than one answer holds.',
    cure: 'Ask for offsets below `size`, and for at most 16 ranges at once; resize the image first to write beyond its end.',
    members: ['size', 'ranges', 'rangesMax'],
    detail: (context) => {
      if (context['ranges'] !== undefined) {
        return `The request asks for ${textOf(context, 'ranges')} separate ranges, and one answer holds at most ${textOf(context, 'rangesMax')}.`;
      }
      return context['size'] === undefined ? undefined : `There are ${textOf(context, 'size')} bytes.`;
    },
  },
  'unsafe-image': {
    cause: 'The file is not what was declared, is damaged, names other files, or uses features that are unknown here.',
    cure: 'See `violations`. Declare the right format (`?format=raw` for a raw disk), map a backing name with `?backing=`, mend the file with `?repair=all`, or make one plain file of it with `qemu-img convert -O qcow2`. A file that another program has put on another base keeps off until `qemu-img rebase -u` names the old one, or none.',
    members: ['violations', 'report'],
    detail: (context) => {
      const found = listOf(context, 'violations').map(violationOf);
      return found.length === 0 ? undefined : found.join(' ');
    },
  },
  'invalid-geometry': {
    cause: 'The sizes do not go together or are beyond what the format allows.',
    cure: 'Choose another size. Clusters are powers of two from 512 bytes to 2 MiB, and a disk that is too large for them needs larger ones.',
    members: ['reason', 'option', 'virtualSize', 'clusterSize', 'refcountBits'],
    detail: (context) => {
      if (context['reason'] !== undefined) return `${optionOf(context)}${textOf(context, 'reason')}.`;
      return context['virtualSize'] === undefined
        ? undefined
        : `virtualSize ${textOf(context, 'virtualSize')} is more than an image of this cluster size can map.`;
    },
  },
  'unsupported-option': {
    cause: 'The request, or the image itself, wants something that this service does not do.',
    cure: 'Leave out what was asked for, or change its value; where the image itself is in the way, use another image.',
    members: ['option', 'reason', 'features'],
    detail: (context) => {
      if (context['reason'] !== undefined) return `${optionOf(context)}${textOf(context, 'reason')}.`;
      return context['option'] === undefined
        ? undefined
        : `The option ${textOf(context, 'option')} cannot be honoured.`;
    },
  },
  ...jobProblemTexts,
  ...keyProblemTexts,
  'size-mismatch': {
    cause: 'A body without Content-Range replaces the whole content and must be exactly as long as the image.',
    cure: 'Send as many bytes as `virtualSize`, or say with Content-Range where a part belongs.',
    members: ['expected', 'received', 'size'],
    detail: (context) => `The image holds ${textOf(context, 'size')} bytes.`,
  },
  ...imageProblemTexts,
  'internal': {
    cause: 'The service met a state that it does not expect. This is a bug.',
    cure: 'Look for the request id in the log of the service and report it.',
    members: [],
    detail: undefined,
  },
  'io-error': {
    cause: 'The file system below the data directory failed.',
    cure: 'Look for the request id in the log of the service, and see to the storage. After a failed write, read back or write again.',
    members: [],
    detail: undefined,
  },
  'not-ready': {
    cause: 'The catalog or the data directory cannot be used, or an engine thread does not answer.',
    cure: '`checks` says which of them is failing, and the log of the service says why.',
    members: ['checks'],
    detail: undefined,
  },
  'draining': {
    cause: 'The service is stopping and takes no new requests.',
    cure: 'Try again after Retry-After, when it has started again.',
    members: [],
    detail: undefined,
  },
  'engine-busy': {
    cause: 'Too much is waiting, or something long is under way on the image that does not let this in.',
    cure: 'Try again after Retry-After, or, where the verb takes it, ask with `Prefer: respond-async` for a job, which waits as long as it takes. GET /v1/jobs lists the jobs that are under way; they can be cancelled.',
    members: [],
    detail: (context) => {
      const { waitedMs } = context;
      return typeof waitedMs === 'number' ? `It has waited ${String(waitedMs / 1000)} s for its turn.` : undefined;
    },
  },
  'engine-lost': {
    cause:
      'The thread that served the image ended before it answered, or does not answer: its disk hangs. Whether a change was made is unknown.',
    cure: 'Try again after Retry-After; read back or write again what was being changed.',
    members: ['written'],
    detail: undefined,
  },
  'insufficient-storage': {
    cause: 'The file system below the data directory, or the image format, has no room for this.',
    cure: 'Delete images that are not needed, or give the data directory more space. Where there is `written`, so many bytes were written.',
    members: ['required', 'available', 'written'],
    detail: (context) =>
      context['required'] === undefined || context['available'] === undefined
        ? undefined
        : `${textOf(context, 'required')} bytes are needed, and ${textOf(context, 'available')} are there.`,
  },
} as const satisfies Record<WireCode, ProblemText>;
