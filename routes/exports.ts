// Images that go out as one standalone file of exact length, never stored; made for `curl -C - -o disk.qcow2`.

import { answerBytes, rangeOf } from '../src/http/byte-answer.ts';
import { conditionsOf } from '../src/http/conditional.ts';
import { signalOf } from '../src/http/disconnect.ts';
import type { ExportSession, Services } from '../src/services/services.ts';
import { claimOf } from './claims.ts';
import { passphrasesOf } from './passphrases.ts';
import type { Routes } from './route-parts.ts';
import { ImageParams } from './schemas/common.ts';
import { ClaimHeaders } from './schemas/leases.ts';
import { bytesMediaType, bytesResponses, problemResponse } from './schemas/problem.ts';
import { ExportQuery } from './schemas/transfer.ts';

export function exportRoutes(services: Services): Routes {
  return async (app) => {
    app.route({
      method: ['GET', 'HEAD'],
      url: '/images/:image/file',
      schema: {
        operationId: 'exportImage',
        tags: ['transfer'],
        summary: 'The image as one standalone file',
        params: ImageParams,
        headers: ClaimHeaders,
        querystring: ExportQuery,
        response: { ...bytesResponses([qcow2MediaType, bytesMediaType]), ...problemResponse() },
      },
      handler: async (request, reply) => {
        const { format, snapshot, layer, compress, generation } = request.query;
        const brought = { claim: claimOf(request), passphrases: passphrasesOf(request) };
        const form = { format, snapshot, layer, compress: compress ?? false };
        const options = { ...form, signal: signalOf(reply), ...brought };
        using session = await services.exports.openExport(request.params.image, options);
        const kind = layer === 'all' ? format : `${format}-${layer}`;
        void reply
          .header('content-type', format === 'qcow2' ? qcow2MediaType : bytesMediaType)
          .header('content-disposition', `attachment; filename="${fileNameOf(session)}.${format}"`)
          .header('cache-control', 'private, no-cache');
        return await answerBytes(request, reply, {
          source: {
            size: session.length,
            generation: session.generation,
            etagOf: () => fileTag(session, kind),
            read: async (span) => ({ bytes: await session.read(span), generation: session.generation }),
            chunks: (span) => session.chunks(span),
            recycle: (bytes) => services.content.recycle(bytes),
          },
          conditions: conditionsOf(request.headers, { generation }),
          range: rangeOf(request),
        });
      },
    });
  };
}

/** A snapshot has a name of its own, so that it is not taken for the live image in one folder. */
function fileNameOf({ imageName, snapshotId }: ExportSession): string {
  return snapshotId === undefined ? imageName : `${imageName}-snapshot-${snapshotId}`;
}

const qcow2MediaType = 'application/x-qemu-disk';

/** Raised when the same content is laid out in another way: a download begun before must not go on after. */
const layoutVersion = 1;

function fileTag(session: ExportSession, kind: string): string {
  const edition = session.edition === undefined ? '' : `packed-${session.edition}-`;
  const content = session.snapshotId === undefined ? String(session.generation) : `s${session.snapshotId}`;
  return `"${session.imageId}-${content}-${kind}-${edition}${layoutVersion}"`;
}
