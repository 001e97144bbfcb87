// Images that come in as one request, made for `curl -T disk.qcow2`.

import type { FastifyRequest } from 'fastify';
import type { z } from 'zod';

import { Fault } from '../src/base/fault.ts';
import { sendAnswer } from '../src/http/answer.ts';
import { signalOf } from '../src/http/disconnect.ts';
import { bodyLengthOf, bodyOf, bodyPatience } from '../src/http/request-body.ts';
import { invalidRequest } from '../src/http/schema.ts';
import type { CreateOptions, ImportOptions, Services } from '../src/services/services.ts';
import { takeAnyBody } from './byte-bodies.ts';
import { refuseClaim } from './claims.ts';
import { jobResponse, performWork } from './long-work.ts';
import { passphrasesOf } from './passphrases.ts';
import type { Routes } from './route-parts.ts';
import { toEncryption } from './schemas/encryption.ts';
import { Image } from './schemas/images.ts';
import { ClaimHeaders } from './schemas/leases.ts';
import { bytesBody, json, problemResponse } from './schemas/problem.ts';
import { ImportParams, ImportQuery } from './schemas/transfer.ts';

export function importRoutes(services: Services): Routes {
  return async (app) => {
    takeAnyBody(app);
    app.put(
      '/imports/:name',
      {
        schema: {
          operationId: 'importImage',
          tags: ['transfer'],
          summary: 'Bring a qcow2 or raw file in as a new image',
          params: ImportParams,
          querystring: ImportQuery,
          headers: ClaimHeaders,
          body: bytesBody,
          response: {
            201: json('The new image; `Location` names it', Image),
            ...jobResponse(),
            ...problemResponse(),
          },
        },
      },
      async (request, reply) => {
        refusePart(request);
        if (request.query.backing === undefined) refuseClaim(request);
        const options: ImportOptions = {
          name: request.params.name,
          ...toImportOptions(request),
          bodyLength: bodyLengthOf(request.raw),
          signal: signalOf(reply),
        };
        const answer = await performWork(services, request, {
          kind: 'import',
          image: undefined,
          options: { name: options.name },
          waitsFrom: 'admission',
          key: undefined,
          work: (control) => services.imports.importImage(options, bodyOf(request.raw, bodyPatience), control),
        });
        return sendAnswer(reply, answer);
      },
    );
  };
}

/** A part must never be taken for the whole (RFC 9110 §14.5). */
function refusePart(request: FastifyRequest): void {
  if (request.headers['content-range'] === undefined) return;
  const message = 'an import takes a whole file, not a part of one';
  throw invalidRequest({ pointer: '/content-range', in: 'header', message });
}

function toImportOptions(request: Asking): Pick<ImportOptions, 'description' | 'labels' | 'sha256' | 'source'> {
  const { query } = request;
  const { digest } = query;
  return {
    description: query.description ?? '',
    labels: query.label ?? {},
    sha256: digest === undefined ? undefined : Buffer.from(digest.slice('sha256:'.length), 'hex'),
    source: query.format === 'raw' ? rawSource(request) : qcow2Source(query),
  };
}

function qcow2Source({ backing, repair }: z.output<typeof ImportQuery>): ImportOptions['source'] {
  return { format: 'qcow2', backing, repair: repair ?? 'leaks' };
}

/** Defaults are those of qemu-img create. */
function rawSource(request: Asking): ImportOptions['source'] {
  const { query } = request;
  return {
    format: 'raw',
    compress: query.compress ?? false,
    dataFile: query.dataFile === true ? { raw: query.dataFileRaw ?? false } : undefined,
    encryption: encryptionOf(request),
    create: {
      clusterSize: query.clusterSize ?? 65_536,
      compat: query.compat ?? '1.1',
      refcountBits: query.refcountBits ?? 16,
      lazyRefcounts: query.lazyRefcounts ?? false,
      extendedL2: query.extendedL2 ?? false,
      compressionType: query.compressionType ?? 'zlib',
      preallocation: query.preallocation ?? 'off',
    },
  };
}

interface Asking extends Pick<FastifyRequest, 'headers'> {
  readonly query: z.output<typeof ImportQuery>;
}

/** The passphrase is in a header: a URL is logged. Faults `passphrase-required`; `unsupported-option` for one that nobody asks for. */
function encryptionOf(request: Asking): CreateOptions['encryption'] {
  const format = request.query.encryption;
  const passphrases = passphrasesOf(request);
  const passphrase = format === undefined ? undefined : passphrases?.take('new');
  passphrases?.requireTaken();
  if (format === undefined) return undefined;
  if (passphrase === undefined) throw new Fault('passphrase-required', { isNew: true });
  return toEncryption({ ...request.query, format }, passphrase);
}
