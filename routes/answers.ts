// Answers that several resources give: an image with its tag, where a new thing is, what a change led to.

import type { FastifyReply } from 'fastify';
import type { z } from 'zod';

import type { Answer } from '../src/http/answer.ts';
import type { Image as ImageValue, Lease, MadeBitmap, WriteReceipt } from '../src/services/services.ts';
import { printBitmap } from './schemas/bitmaps.ts';
import { printImage } from './schemas/images.ts';
import type { Image } from './schemas/images.ts';
import { printLease } from './schemas/leases.ts';

/** The tag of an image's metadata. */
export function imageTag(image: ImageValue): string {
  return versionTag(image.version);
}

/** The tag of a version of the metadata. */
export function versionTag(version: number): string {
  return `"${version}"`;
}

/** The tag of an image's guest data. */
export function dataTag(imageId: string, generation: number): string {
  return `"${imageId}-${generation}"`;
}

/** The generation that a tag of this image's guest data names. */
export function generationOfTag(imageId: string, tag: string): number | undefined {
  const prefix = `"${imageId}-`;
  const digits = tag.startsWith(prefix) ? /^\d{1,16}(?="$)/.exec(tag.slice(prefix.length))?.[0] : undefined;
  return digits === undefined ? undefined : Number(digits);
}

/** An image as the body of an answer. */
export function answerImage(reply: FastifyReply, image: ImageValue): z.input<typeof Image> {
  void reply.header('etag', imageTag(image));
  return printImage(image);
}

/** An image as an answer. */
export function imageAnswer(image: ImageValue): Answer {
  return { status: 200, headers: { etag: imageTag(image) }, body: printImage(image) };
}

/** A new image. */
export function createdAnswer(image: ImageValue): Answer {
  const headers = { location: `/v1/images/${image.id}`, etag: imageTag(image) };
  return { status: 201, headers, body: printImage(image) };
}

/** A new lease. */
export function grantedAnswer(lease: Lease): Answer {
  return { status: 201, headers: {}, body: printLease(lease) };
}

/** A new bitmap. */
export function bitmapAnswer({ imageId, bitmap }: MadeBitmap): Answer {
  const location = `/v1/images/${imageId}/bitmaps/${encodeURIComponent(bitmap.name)}`;
  return { status: 201, headers: { location }, body: printBitmap(bitmap) };
}

/** 204 after a change of guest data that is not at one place. */
export function receiptAnswer({ generation, writeEpoch }: WriteReceipt): Answer {
  const headers = { 'image-generation': String(generation), 'write-epoch': writeEpoch };
  return { status: 204, headers, body: undefined };
}

/** 204 after a change of guest data: what it is now, and in which epoch that holds. */
export function answerReceipt(
  reply: FastifyReply,
  options: { readonly imageId: string | undefined; readonly receipt: WriteReceipt },
): FastifyReply {
  const { imageId, receipt } = options;
  if (imageId !== undefined) void reply.header('etag', dataTag(imageId, receipt.generation));
  void reply.header('image-generation', receipt.generation).header('write-epoch', receipt.writeEpoch);
  return reply.code(204).send();
}
