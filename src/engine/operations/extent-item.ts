// One stretch of the guest-visible map, as listed (qemu-img map's words).

/** `hole`: no layer has it; `zero`: present and zero; `data`: stored bytes. Offsets and lengths in bytes. */
export interface ExtentItem {
  readonly offset: number;
  readonly length: number;
  readonly kind: 'data' | 'zero' | 'hole';
  /** The layer that answers: 0 is the top. For a hole, the last layer looked at. */
  readonly depth: number;
  readonly compressed: boolean;
  /** Data that the file system says is a hole: preallocated and never written, reads as zeroes. */
  readonly preallocated?: boolean;
  /** Where the bytes lie in that layer's file. */
  readonly hostOffset?: number;
}

/** What to list. */
export interface ExtentQuery {
  readonly offset: number;
  readonly length: number;
  /** At most so many items. */
  readonly limit: number;
  /** `top` asks this image only. */
  readonly layer: 'all' | 'top';
  /** Whether runs are split where the host offset jumps (and `hostOffset` is told). */
  readonly hostOffsets: boolean;
}

/** Sorted, gap-free, merged items; `nextOffset` is where the rest starts, or undefined at the end of the span. */
export interface ExtentPage {
  readonly items: readonly ExtentItem[];
  readonly nextOffset: number | undefined;
}
