// A QCOW2 file that comes in: kept as it is sent, its head judged at once, all of it after the last byte.

import { present } from '../base/assert.ts';
import { releaseBytes } from '../base/spent-bytes.ts';
import { MiB } from '../base/units.ts';
import type { ProgressListener } from '../pool/engine-pool.ts';
import { headLength } from '../pool/protocol.ts';
import type { RepairMode } from '../pool/protocol.ts';
import type { StagingWriter } from '../store/staging-writer.ts';
import { expectedOf, whileWanted } from './body-chunks.ts';
import { generationFirst } from './new-images.ts';
import type { Draft, MadeFile } from './new-images.ts';
import type { ServiceParts } from './service-parts.ts';
import { requireDigest } from './write-session.ts';
import { WriteWindow } from './write-window.ts';

/** How much is written to the staging file at a time, in bytes, and in how many pieces at most. */
const writeLength = 1 * MiB;
const piecesMax = 64;

export interface IncomingQcow2 {
  readonly body: AsyncIterable<Uint8Array>;
  readonly bodyLength: number | undefined;
  readonly sha256: Uint8Array | undefined;
  readonly repair: Exclude<RepairMode, 'none'>;
  /** Told when the whole body is there. */
  readonly onTaken: () => void;
  readonly onProgress: ProgressListener | undefined;
}

/**
 * Faults `unsafe-image` {violations}, `content-range-mismatch`, `digest-mismatch`, `insufficient-storage`; whoever
 * reserved the image removes what was staged.
 */
export async function takeQcow2(
  parts: Pick<ServiceParts, 'directory' | 'pool'>,
  draft: Draft,
  incoming: IncomingQcow2,
): Promise<MadeFile> {
  const { directory, pool } = parts;
  const { id, path, base, signal } = draft;
  const writer = await directory.stage(id, { digest: incoming.sha256 !== undefined });
  let staged = false;
  try {
    const body = judged(expectedOf(incoming), (head) =>
      pool.judgeHead({ head, backing: base !== undefined }, { signal }),
    );
    await writeAll(writer, whileWanted(body, signal));
    staged = true;
    incoming.onTaken();
  } finally {
    if (!staged) await writer.abort();
  }
  const digest = await writer.finish();
  if (incoming.sha256 !== undefined) requireDigest(present(digest, 'the digest was asked for'), incoming.sha256);

  const request = { path, backing: base?.source, below: base?.below ?? [], repair: incoming.repair };
  const { description } = await pool.admit(request, { signal, onProgress: incoming.onProgress });
  return { description, generation: generationFirst };
}

/** While some pieces are written the next ones are gathered. They stay where they are: nobody copies them. */
export async function writeAll(writer: StagingWriter, body: AsyncIterable<Uint8Array>): Promise<void> {
  const window = new WriteWindow({ widthMax: 1 });
  let pieces: Uint8Array[] = [];
  let length = 0;
  const write = async (): Promise<void> => {
    const [written, writtenLength] = [pieces, length];
    [pieces, length] = [[], 0];
    await window.add(writtenLength, async () => {
      await writer.write(written);
      written.forEach(releaseBytes);
    });
  };
  try {
    for await (const piece of body) {
      pieces.push(piece);
      length += piece.length;
      if (length >= writeLength || pieces.length === piecesMax) await write();
    }
    await write();
    await window.finish();
  } finally {
    await window.end();
  }
}

/** The body as it is; its head is judged as soon as it is there. */
async function* judged(
  body: AsyncIterable<Uint8Array>,
  judge: (head: Uint8Array) => Promise<void>,
): AsyncGenerator<Uint8Array> {
  const head = Buffer.alloc(headLength);
  let length = 0;
  for await (const piece of body) {
    if (length < headLength) {
      const part = piece.subarray(0, headLength - length);
      head.set(part, length);
      length += part.length;
      if (length === headLength) await judge(head);
    }
    yield piece;
  }
  if (length < headLength) await judge(head.subarray(0, length));
}
