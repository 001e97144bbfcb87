// Packed clusters of a layer that is read from front to back: others unpack them while the reader is still before them.

import { MiB } from '../../base/units.ts';
import { guestOffset } from '../format/offsets.ts';
import type { Layer, StoredCluster } from '../layer/layer.ts';
import { CodecNeed } from '../transform/codec-need.ts';
import { broken } from '../transform/codec-task.ts';
import type { Progress, Steps } from './steps.ts';

/** How far it goes ahead of the reader, in bytes of the disk. */
const aheadMax = 16 * MiB;
/** How much one need unpacks, unless a cluster is longer. */
const needLength = 1 * MiB;
/** How many extents it passes over at a time. */
const extentsMax = 1000;

/** Clusters on their way to being unpacked. */
interface Unpacking {
  readonly at: number;
  readonly need: CodecNeed;
  readonly blobs: readonly StoredCluster[];
}

/** A cluster that was handed to its layer. */
interface Kept {
  readonly at: number;
  readonly blob: StoredCluster;
}

/** Whoever reads the layer itself finds them unpacked already; a blob that is broken is met by that reader. Must be ended. */
export class UnpackAhead {
  readonly #layer: Layer;
  readonly #unpacking: Unpacking[] = [];
  readonly #wants: (blob: StoredCluster) => boolean;
  /** What was handed over and perhaps not read yet, by its place on the disk. */
  #kept: Kept[] = [];
  #next = 0;

  /** `wants` tells which packed clusters will be read as the guest reads them. */
  constructor(layer: Layer, wants: (blob: StoredCluster) => boolean) {
    this.#layer = layer;
    this.#wants = wants;
  }

  /** The span is read next: what of it is packed is unpacked when this ends. */
  *reach(at: number, end: number, progress: Pick<Progress, 'done' | 'total'>): Steps<void> {
    this.#next = Math.max(this.#next, at);
    this.#dropBefore(at);
    const border = Math.min(this.#layer.size, at + aheadMax);
    for (let passed = 0; this.#next < border && passed < extentsMax; passed += 1) {
      const need = this.#gather(border);
      if (need !== undefined) yield { ...progress, asks: need };
    }
    for (let first = this.#unpacking[0]; first !== undefined && first.at < end; first = this.#unpacking[0]) {
      if (!first.need.isAnswered) yield { ...progress, awaits: first.need };
      this.#unpacking.shift();
      this.#handOver(first);
    }
  }

  /** Nobody reads on. */
  end(): void {
    this.#dropBefore(Infinity);
  }

  #dropBefore(border: number): void {
    const isBehind = ({ at, blob }: Kept): boolean => at + blob.clusterSize <= border;
    for (const one of this.#kept) if (isBehind(one)) one.blob.drop();
    this.#kept = this.#kept.filter((one) => !isBehind(one));
  }

  /** Passes over one stretch: what is packed of it is to be asked for. */
  #gather(border: number): CodecNeed | undefined {
    const at = this.#next;
    const blobs: StoredCluster[] = [];
    while (this.#next < border && this.#next - at < needLength) {
      const blob = this.#layer.storedAt?.(guestOffset(this.#next));
      const [first] = blobs;
      if (blob === undefined || !this.#wants(blob) || (first !== undefined && !isLike(first, blob))) break;
      blobs.push(blob);
      this.#next += blob.clusterSize;
    }
    const [first] = blobs;
    if (first === undefined) {
      this.#next += this.#layer.extentAt(guestOffset(at), this.#layer.size - at).length;
      return undefined;
    }
    const need = new CodecNeed({ kind: 'unpack', ...read(blobs), ...typeOf(first) });
    this.#unpacking.push({ at, need, blobs });
    return need;
  }

  #handOver({ at, need, blobs }: Unpacking): void {
    const { bytes, lengths } = need.take();
    let from = 0;
    for (const [index, blob] of blobs.entries()) {
      if (lengths[index] === broken) continue;
      blob.keep(bytes.subarray(from, from + blob.clusterSize));
      this.#kept.push({ at: at + index * blob.clusterSize, blob });
      from += blob.clusterSize;
    }
  }
}

function isLike(one: StoredCluster, other: StoredCluster): boolean {
  return one.clusterSize === other.clusterSize && one.compressionType === other.compressionType;
}

function typeOf({ clusterSize, compressionType }: StoredCluster): Pick<CodecNeed['task'], 'type' | 'clusterSize'> {
  return { clusterSize, type: compressionType };
}

function read(blobs: readonly StoredCluster[]): {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly lengths: readonly number[];
} {
  const lengths = blobs.map(({ packedLength }) => packedLength);
  const bytes = new Uint8Array(lengths.reduce((sum, length) => sum + length, 0));
  let from = 0;
  for (const blob of blobs) {
    blob.read(bytes.subarray(from, from + blob.packedLength));
    from += blob.packedLength;
  }
  return { bytes, lengths };
}
