// The head of the OpenAPI document: title, description and tags.

import type { DocumentHead } from '../src/http/server.ts';
import { contractOf, headerProblems } from './operation-contracts.ts';
import { problemMembers, problemMemberSchemas } from './schemas/problem-members.ts';

/** The document of a version of the service. */
export function documentHead(version: string): DocumentHead {
  return {
    title: 'qcowd',
    version,
    description:
      "Everything QEMU's qcow2 block driver can do, over HTTP. Sizes, offsets and counts are bytes or whole numbers up to 2^53-1. " +
      'Every error is an RFC 9457 problem; GET its `type` for cause and cure.',
    tags: [
      { name: 'system', description: 'The service itself: health, limits, problems' },
      { name: 'images', description: 'Images as things: make, list, show, resize, check, delete' },
      { name: 'data', description: 'Guest bytes: read, write, zero, discard, flush, extents' },
      { name: 'snapshots', description: 'Internal snapshots' },
      { name: 'bitmaps', description: 'Dirty bitmaps: which parts of a disk have changed since' },
      { name: 'jobs', description: 'Long work that goes on after its request' },
      { name: 'leases', description: 'Claims on an image, with fencing tokens' },
      { name: 'transfer', description: 'Whole files in and out' },
    ],
    facts: { contractOf, headerProblems, problemMembers, problemMemberSchemas },
  };
}
