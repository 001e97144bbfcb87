// The members that problems have beside those of RFC 9457, as the OpenAPI document shows them, each with an example.

import type { ProblemMembers } from '../../src/http/document-problems.ts';

const wholeNumber = { type: 'integer', format: 'int64', minimum: 0, maximum: Number.MAX_SAFE_INTEGER } as const;
const text = { type: 'string' } as const;

/** Members by name; a name that means something else with one code stands there as `code.name`. */
export const problemMembers: ProblemMembers = {
  'errors': {
    schema: { type: 'array', minItems: 1, items: { $ref: '#/components/schemas/RequestError' } },
    example: [{ pointer: '/virtualSize', in: 'body', message: 'a whole number' }],
  },
  'size': { schema: { ...wholeNumber, description: 'Bytes that there are' }, example: 10_737_418_240 },
  'ranges': { schema: { ...wholeNumber, description: 'Ranges that were asked for' }, example: undefined },
  'rangesMax': { schema: { ...wholeNumber, description: 'Ranges that one answer has at most' }, example: undefined },
  'expected': { schema: { ...wholeNumber, description: 'Bytes that were announced or needed' }, example: 65_536 },
  'received': { schema: { ...wholeNumber, description: 'Bytes that arrived' }, example: 4096 },
  'written': { schema: { ...wholeNumber, description: 'Bytes from the start that were written' }, example: 0 },
  'digest-mismatch.expected': {
    schema: { ...text, description: 'The digest that was announced' },
    example: 'ab'.repeat(32),
  },
  'digest-mismatch.actual': {
    schema: { ...text, description: 'The digest of what arrived' },
    example: 'cd'.repeat(32),
  },
  'host': { schema: text, example: 'elsewhere.example' },
  'origin': { schema: text, example: 'http://elsewhere.example' },
  'scope': { schema: { ...text, description: 'The scope of the token' }, example: 'read' },
  'neededScope': { schema: { ...text, description: 'The scope that the operation asks for' }, example: 'write' },
  'image': { schema: { ...text, description: 'What was asked for' }, example: 'vm1' },
  'snapshot': { schema: { ...text, description: 'What was asked for' }, example: 's1' },
  'job': {
    schema: { ...text, description: 'What was asked for' },
    example: 'job_0199bd6e-7c5e-7000-8000-4e1d2c3b4a59',
  },
  'name': { schema: { ...text, description: 'The name that is taken' }, example: 'vm1' },
  'state': { schema: text, example: 'creating' },
  'job-not-cancellable.state': { schema: text, example: 'succeeded' },
  'dependents': {
    schema: { type: 'array', items: { $ref: '#/components/schemas/ImageReference' } },
    example: [{ id: 'img_0199bd6e-7c5e-7000-8000-4e1d2c3b4a59', name: 'overlay' }],
  },
  'holder': {
    schema: { $ref: '#/components/schemas/LeaseHolder' },
    example: { mode: 'exclusive', owner: 'backup-7', expiresAt: '2026-11-29T12:00:00.000Z' },
  },
  'leasesMax': { schema: { ...wholeNumber, description: 'Leases that an image has at most' }, example: 128 },
  'fencingToken': { schema: { ...wholeNumber, description: 'The current one' }, example: 4 },
  'writeEpoch': { schema: { ...text, description: 'The current one' }, example: 'kQ2v0b7Jm3xYt1Zr' },
  'generation': { schema: { ...wholeNumber, description: 'Of the content as it is' }, example: 8 },
  'version': { schema: { ...wholeNumber, description: 'Of the metadata as it is' }, example: 3 },
  'virtualSize': { schema: wholeNumber, example: 512 },
  'clusterSize': { schema: wholeNumber, example: 65_536 },
  'refcountBits': { schema: wholeNumber, example: 16 },
  'bitmap': { schema: text, example: 'backup' },
  'reason': { schema: text, example: 'must be a power of two' },
  'option': { schema: { ...text, description: 'The member or parameter that it is about' }, example: 'clusterSize' },
  'features': { schema: { type: 'array', items: text }, example: ['bit 63'] },
  'layersBelow': { schema: { ...wholeNumber, description: 'How far down the chain the locked image is' }, example: 1 },
  'depth': { schema: { ...wholeNumber, description: 'Layers that the chain would have' }, example: 65 },
  'depthMax': { schema: wholeNumber, example: 64 },
  'required': { schema: { ...wholeNumber, description: 'Bytes that it takes' }, example: 1_073_741_824 },
  'available': { schema: { ...wholeNumber, description: 'Bytes that there are' }, example: 1_048_576 },
  'occupiedBytes': { schema: wholeNumber, example: 10_737_418_240 },
  'quotaBytes': { schema: wholeNumber, example: 10_737_418_240 },
  'lengthMax': { schema: { ...wholeNumber, description: 'Bytes that the route takes' }, example: 1_048_576 },
  'violations': {
    schema: { type: 'array', items: { $ref: '#/components/schemas/Violation' } },
    example: [{ code: 'magic-wrong', message: 'the file does not start with the QCOW2 magic' }],
  },
  'report': { schema: { $ref: '#/components/schemas/CheckReport' }, example: undefined },
  'checks': {
    schema: { $ref: '#/components/schemas/ReadinessChecks' },
    example: { catalog: 'failing', dataDirectory: 'ok', freeSpace: 'ok', engine: 'ok' },
  },
  'guestOffset': { schema: wholeNumber, example: 1_048_576 },
  'hostOffset': { schema: wholeNumber, example: 327_680 },
  'checkHint': { schema: { ...text, description: 'How to check the image' }, example: 'POST /v1/images/vm1/check' },
};

/** Schemas that only those members need. */
export const problemMemberSchemas = {
  Violation: {
    type: 'object',
    description: 'One thing that keeps a file out; other members follow by code',
    properties: { code: text, message: text },
    required: ['code'],
    additionalProperties: true,
  },
} as const;
