// Lists a span of the guest-visible map, merged as qemu-img map merges (OPS-08).

import { assert } from '../../base/assert.ts';
import { guestOffset, hostOffset } from '../format/offsets.ts';
import type { Layer, LayerExtent } from '../layer/layer.ts';
import type { ExtentItem, ExtentPage, ExtentQuery } from './extent-item.ts';

/** How many lookups one page may take, so that a listing of a huge map stays one bounded call. */
const lookupsMax = 100_000;

/** One page of the map of a layer and all below it; with `layer: 'top'` what lies below counts as a hole. */
export function listExtents(top: Layer, query: ExtentQuery): ExtentPage {
  const end = Math.min(query.offset + query.length, top.size);
  const items: ExtentItem[] = [];
  let at = query.offset;
  let lookups = 0;
  while (at < end) {
    if (lookups >= lookupsMax && items.length > 0) return { items, nextOffset: at };
    const found = top.extentAt(guestOffset(at), end - at);
    assert(found.length > 0 && found.length <= end - at, 'a lookup makes progress inside the request');
    lookups += 1;
    const item = itemOf(found, at, query);
    const last = items.at(-1);
    if (last !== undefined && continues(last, item)) {
      items[items.length - 1] = { ...last, length: last.length + item.length };
    } else if (items.length === query.limit) {
      return { items, nextOffset: at };
    } else {
      items.push(item);
    }
    at += found.length;
  }
  return { items, nextOffset: undefined };
}

function itemOf(found: LayerExtent, offset: number, query: ExtentQuery): ExtentItem {
  const { length, depth } = found;
  const below = query.layer === 'top' && depth > 0;
  if (found.kind === 'absent' || below) {
    const hole = { offset, length, kind: 'hole', depth: below ? 0 : depth, compressed: false } as const;
    return below || found.host === undefined || !query.hostOffsets
      ? hole
      : { ...hole, hostOffset: hostOffset(found.host) };
  }
  const plain = { offset, length, kind: found.kind, depth, compressed: found.compressed };
  const item = found.preallocated === true ? { ...plain, preallocated: true } : plain;
  if (!query.hostOffsets || found.host === undefined) return item;
  return { ...item, hostOffset: hostOffset(found.host) };
}

function continues(last: ExtentItem, next: ExtentItem): boolean {
  if (last.kind !== next.kind || last.depth !== next.depth || last.compressed !== next.compressed) return false;
  if (last.preallocated !== next.preallocated) return false;
  if (last.hostOffset === undefined || next.hostOffset === undefined) return last.hostOffset === next.hostOffset;
  return last.hostOffset + last.length === next.hostOffset;
}
