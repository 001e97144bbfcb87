// The VM state of a snapshot: read whole or in ranges, replaced whole.

import type { FastifyRequest } from 'fastify';

import { answerBytes, rangeOf } from '../src/http/byte-answer.ts';
import { conditionsOf } from '../src/http/conditional.ts';
import { contentDigestOf } from '../src/http/content-digest.ts';
import { signalOf } from '../src/http/disconnect.ts';
import { bodyLengthOf, bodyOf, bodyPatience } from '../src/http/request-body.ts';
import { invalidRequest } from '../src/http/schema.ts';
import type { Services, VmStateReceipt } from '../src/services/services.ts';
import { takeAnyBody } from './byte-bodies.ts';
import { claimOf } from './claims.ts';
import { passphrasesOf } from './passphrases.ts';
import type { Routes } from './route-parts.ts';
import { SnapshotParams } from './schemas/common.ts';
import { ClaimHeaders } from './schemas/leases.ts';
import { bytesBody, bytesResponses, problemResponse } from './schemas/problem.ts';

export function vmStateRoutes(services: Services): Routes {
  return async (app) => {
    takeAnyBody(app);
    app.route({
      method: ['GET', 'HEAD'],
      url: '/images/:image/snapshots/:snapshot/vmstate',
      schema: {
        operationId: 'readVmState',
        tags: ['snapshots'],
        summary: 'Read the VM state of a snapshot: all of it, a range, or several; nothing where there is none',
        params: SnapshotParams,
        headers: ClaimHeaders,
        response: { ...bytesResponses(), ...problemResponse() },
      },
      handler: async (request, reply) => {
        const { image, snapshot } = request.params;
        using state = await services.vmStates.openRead(image, snapshot, {
          signal: signalOf(reply),
          claim: claimOf(request),
          passphrases: passphrasesOf(request),
        });
        void reply.header('content-type', 'application/octet-stream').header('cache-control', 'private, no-cache');
        return await answerBytes(request, reply, {
          source: {
            get size() {
              return state.size;
            },
            generation: state.generation,
            etagOf: (generation) => vmStateTag({ imageId: state.imageId, snapshotId: state.snapshotId, generation }),
            read: (span) => state.read(span),
            chunks: (span) => state.chunks(span),
            recycle: (bytes) => services.content.recycle(bytes),
          },
          conditions: conditionsOf(request.headers, { generation: undefined }),
          range: rangeOf(request),
        });
      },
    });

    app.put(
      '/images/:image/snapshots/:snapshot/vmstate',
      {
        schema: {
          operationId: 'writeVmState',
          tags: ['snapshots'],
          summary: 'Give a snapshot another VM state, or none with an empty body',
          params: SnapshotParams,
          headers: ClaimHeaders,
          body: bytesBody,
          response: { 204: { description: 'The body is the VM state, durably' }, ...problemResponse() },
        },
      },
      async (request, reply) => {
        refusePart(request);
        const { image, snapshot } = request.params;
        const receipt = await services.vmStates.write(image, snapshot, {
          body: bodyOf(request.raw, bodyPatience),
          bodyLength: bodyLengthOf(request.raw),
          sha256: contentDigestOf(request.raw.headers['content-digest']),
          signal: signalOf(reply),
          claim: claimOf(request),
          passphrases: passphrasesOf(request),
        });
        return reply.header('etag', vmStateTag(receipt)).code(204).send();
      },
    );
  };
}

/** A snapshot's id never comes back, and every write makes another generation. */
function vmStateTag({ imageId, snapshotId, generation }: VmStateReceipt): string {
  return `"${imageId}-s${snapshotId}-m${generation}"`;
}

/** A part must never be taken for the whole (RFC 9110 §14.5). */
function refusePart(request: FastifyRequest): void {
  if (request.headers['content-range'] === undefined) return;
  const message = 'a VM state is replaced as a whole, not in part';
  throw invalidRequest({ pointer: '/content-range', in: 'header', message });
}
