// Finds where a zstd frame ends by walking its block headers (RFC 8878 §3), as Node's decompressor cannot tell.
//
//   magic 4 | descriptor 1 | window 0-1 | dictionary id 0-4 | content size 0-8 | blocks … | checksum 0 or 4
//   block: header 3 = last:1 type:2 size:21 | content: raw size, RLE 1, compressed size

import { viewOf } from '../format/big-endian.ts';

/** Where a frame ends, and whether it is one that can hold content. */
export interface FrameEnd {
  readonly end: number;
  /** False for skippable frames, which hold notes for somebody else. */
  readonly hasContent: boolean;
}

/** The end of the frame that starts at `start`; undefined when no whole frame starts there. */
export function frameEnd(bytes: Uint8Array, start: number): FrameEnd | undefined {
  const view = viewOf(bytes);
  if (start + magicLength + 1 > bytes.length) return undefined;
  const magic = view.getUint32(start, true);
  const isSkippable = (magic & 0xffff_fff0) >>> 0 === skippableMagic;
  if (isSkippable) return skippableEnd(view, start + magicLength);
  if (magic !== frameMagic) return undefined;

  const descriptor = view.getUint8(start + magicLength);
  const checksumLength = (descriptor & checksumFlag) === 0 ? 0 : 4;
  const lastBlockEnd = blocksEnd(view, start + magicLength + headerLength(descriptor));
  if (lastBlockEnd === undefined || lastBlockEnd + checksumLength > bytes.length) return undefined;
  return { end: lastBlockEnd + checksumLength, hasContent: true };
}

function skippableEnd(view: DataView, at: number): FrameEnd | undefined {
  if (at + 4 > view.byteLength) return undefined;
  const end = at + 4 + view.getUint32(at, true);
  return end > view.byteLength ? undefined : { end, hasContent: false };
}

/** The length of the frame header after the magic. */
function headerLength(descriptor: number): number {
  const isSingleSegment = (descriptor & singleSegmentFlag) !== 0;
  const windowLength = isSingleSegment ? 0 : 1;
  const dictionaryIdLength = [0, 1, 2, 4][descriptor & 3] ?? 0;
  const contentSizeLength = [isSingleSegment ? 1 : 0, 2, 4, 8][descriptor >>> 6] ?? 0;
  return 1 + windowLength + dictionaryIdLength + contentSizeLength;
}

function blocksEnd(view: DataView, firstBlock: number): number | undefined {
  let at = firstBlock;
  for (;;) {
    if (at + blockHeaderLength > view.byteLength) return undefined;
    const header = view.getUint16(at, true) + view.getUint8(at + 2) * 0x1_0000;
    const isRepeatedByte = ((header >>> 1) & 3) === repeatedByteBlock;
    at += blockHeaderLength + (isRepeatedByte ? 1 : header >>> 3);
    if ((header & 1) !== 0) return at > view.byteLength ? undefined : at;
  }
}

const frameMagic = 0xfd2f_b528;
const skippableMagic = 0x184d_2a50;
const magicLength = 4;
const checksumFlag = 0x04;
const singleSegmentFlag = 0x20;
const blockHeaderLength = 3;
const repeatedByteBlock = 1;
