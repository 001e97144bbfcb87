// The headers of the interface as the OpenAPI document names them: what requests may bring and what answers carry.

/** A header as the document has it. */
interface HeaderText {
  readonly description: string;
  readonly schema: Readonly<Record<string, unknown>>;
  readonly example: string | number;
}

const text = { type: 'string' } as const;
const wholeNumber = { type: 'integer', format: 'int64', minimum: 0, maximum: Number.MAX_SAFE_INTEGER } as const;
const imageId = 'img_0199bd6e-7c5e-7000-8000-4e1d2c3b4a59';
const dataTag = `"${imageId}-7"`;
const leaseId = 'lse_kQ2v0b7Jm3xYt1Zr9sWc5A';
const sha256 = 'sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:';

/** What requests may bring; none of them is demanded. */
const requestHeaders = {
  'Lease-Id': {
    description: 'The lease that the request is done with; it is renewed. Not live: `lease-lost`',
    schema: text,
    example: leaseId,
  },
  'Fencing-Token': {
    description: 'The token of the lease. A newer one exists: `fencing-token-stale`',
    schema: { type: 'string', pattern: String.raw`^\d{1,15}$` },
    example: '3',
  },
  'Image-Passphrase': {
    description:
      'Passphrases, for this request alone: the bytes of each in base64 between colons, with commas in between. There is one for each encrypted image that the request uses, in the order of its chain, the image itself first, then another one that it names with its chain; an image for which none is left has to be unlocked with `unlock`',
    schema: { type: 'string', pattern: '^:[A-Za-z0-9+/]+={0,2}:( *, *:[A-Za-z0-9+/]+={0,2}:)*$' },
    example: ':Y29ycmVjdCBob3JzZQ==:',
  },
  'Prefer': {
    description:
      '`wait=N` waits N seconds (at most 60, 5 when left out) for the end of the work, `respond-async` not at all; what takes longer is answered 202 with a job',
    schema: text,
    example: 'respond-async',
  },
  'Idempotency-Key': {
    description: 'The same request with the same key gets the first answer, for 24 hours',
    schema: { type: 'string', minLength: 1, maxLength: 255 },
    example: '8e03978e-40d5-43dd-bc93-6894a57f9324',
  },
  'If-Match': {
    description: 'Only when the ETag is one of these: `precondition-failed` otherwise',
    schema: text,
    example: dataTag,
  },
  'If-None-Match': {
    description: 'Only when the ETag is none of these: 304 to a read, `precondition-failed` to a change',
    schema: text,
    example: dataTag,
  },
  'If-Range': {
    description: 'Range counts only while the ETag is this one; otherwise everything is sent',
    schema: text,
    example: dataTag,
  },
  'Range': {
    description: 'The bytes that are wanted: a range, an open one, a suffix, or several',
    schema: text,
    example: 'bytes=0-65535',
  },
  'Content-Range': {
    description: 'Where the body belongs: `bytes first-last/*` or `bytes first-last/size`',
    schema: text,
    example: 'bytes 0-65535/*',
  },
  'Content-Digest': {
    description: 'The SHA-256 of the body (RFC 9530); another one is `digest-mismatch`',
    schema: text,
    example: sha256,
  },
  'Want-Content-Digest': {
    description: 'Asks for the SHA-256 of the content, of up to 64 MiB (RFC 9530)',
    schema: text,
    example: 'sha-256=1',
  },
  'Request-Id': {
    description: 'A name for the request in answer, log and problem; one is made when it is left out',
    schema: { type: 'string', pattern: '^[A-Za-z0-9._~+/=:-]{1,128}$' },
    example: 'backup-2026-11-29-17',
  },
} as const satisfies Readonly<Record<string, HeaderText>>;

/** What answers carry. */
const answerHeaders = {
  'Request-Id': { description: 'The name of the request, as the log has it', schema: text, example: 'req-1' },
  'Location': {
    description: 'Where the new image, snapshot or job is',
    schema: text,
    example: `/v1/images/${imageId}`,
  },
  'ETag': { description: 'The tag that conditions name', schema: text, example: dataTag },
  'Retry-After': { description: 'When to ask again, in seconds', schema: wholeNumber, example: 1 },
  'Preference-Applied': {
    description: 'The preference of `Prefer` that was followed (RFC 7240)',
    schema: text,
    example: 'respond-async',
  },
  'Image-Generation': { description: 'The generation of the guest data', schema: wholeNumber, example: 7 },
  'Write-Epoch': {
    description: 'Changes that were not flushed are there as long as this stays the same',
    schema: text,
    example: 'kQ2v0b7Jm3xYt1Zr',
  },
  'Accept-Ranges': { description: 'Range is understood', schema: { type: 'string', const: 'bytes' }, example: 'bytes' },
  'Cache-Control': { description: 'Who may keep the bytes', schema: text, example: 'private, no-cache' },
  'Content-Length': { description: 'The length of the body, in bytes', schema: wholeNumber, example: 65_536 },
  'Content-Range': {
    description: 'Which bytes these are, or how many there are (416); several ranges say it in each part',
    schema: text,
    example: 'bytes 0-65535/10737418240',
  },
  'Content-Digest': { description: 'The SHA-256 of the content (RFC 9530)', schema: text, example: sha256 },
  'Content-Disposition': {
    description: 'A name for the file',
    schema: text,
    example: 'attachment; filename="vm1.qcow2"',
  },
  'WWW-Authenticate': { description: 'How to identify yourself', schema: text, example: 'Bearer realm="qcowd"' },
} as const satisfies Readonly<Record<string, HeaderText>>;

export type RequestHeader = keyof typeof requestHeaders;

export const requestHeaderNames = Object.keys(requestHeaders) as readonly RequestHeader[];

/** A header that every such answer carries, or with a question mark only some. */
export type AnswerHeader = keyof typeof answerHeaders | `${keyof typeof answerHeaders}?`;

/** What every request may bring and every answer carries. */
export const everywhere = { takes: 'Request-Id', sends: 'Request-Id' } as const;

/** A name that may stand in a reference. */
function componentNameOf(header: string): string {
  return header.replaceAll('-', '');
}

/** All headers as components of the document. */
export function headerComponents(): { readonly parameters: object; readonly headers: object } {
  const parameters = Object.entries(requestHeaders).map(([name, header]) => [
    componentNameOf(name),
    { name, in: 'header', required: false, ...header },
  ]);
  const headers = Object.entries(answerHeaders).flatMap(([name, header]) => [
    [componentNameOf(name), { required: true, ...header }],
    [`Optional${componentNameOf(name)}`, { required: false, ...header }],
  ]);
  return { parameters: Object.fromEntries(parameters) as object, headers: Object.fromEntries(headers) as object };
}

/** A request header of an operation. */
export function parameterReference(name: RequestHeader): { readonly $ref: string } {
  return { $ref: `#/components/parameters/${componentNameOf(name)}` };
}

/** The headers of one answer. */
export function headerReferences(names: readonly AnswerHeader[]): Readonly<Record<string, { readonly $ref: string }>> {
  return Object.fromEntries(
    names.map((name) => {
      const bare = name.replace('?', '');
      const component = `${name === bare ? '' : 'Optional'}${componentNameOf(bare)}`;
      return [bare, { $ref: `#/components/headers/${component}` }];
    }),
  );
}
