// What the pool asks of an engine: the verbs of the engine's face, so that a test can bring a small engine of its own.

import type {
  AdmitOptions,
  CacheTotals,
  CheckReport,
  CreateSpec,
  FileGuard,
  Image,
  ImageDescription,
  MeasuredSize,
  MeasureSpec,
  OpenOptions,
  Steps,
} from '../engine/image.ts';

/** An open image as the pool uses it. */
export type EngineImage = Pick<Image, keyof Image>;

/** What decides how one image is opened; locks, copies and caches are the engine's own matter. */
export type EngineOpenOptions = Omit<OpenOptions, 'locks' | 'hostCopies' | 'caches'>;

/** How images are opened, made and judged; see the static methods of {@link Image}. */
export interface Engine {
  open(options: EngineOpenOptions): EngineImage;
  /** Keeps others out of the files of an image that is open in this process while it is closed and opened again. */
  guard(options: EngineOpenOptions): FileGuard;
  /** Lets caches drop what nobody uses, by milliseconds that only grow, and tells how all of them do. */
  tidyCaches(nowMs: number): CacheTotals;
  create(path: string, spec: CreateSpec): Steps<void>;
  /** Judges the first bytes of a foreign file (at least 64 KiB, or all there are); faults `unsafe-image`. */
  judgeHead(head: Uint8Array, options: { readonly backing: boolean }): void;
  /** How large a new file will be; see {@link MeasuredSize}. */
  measure(spec: MeasureSpec, virtualSize: number): MeasuredSize;
  admit(options: Omit<AdmitOptions, 'locks'>): Steps<{ description: ImageDescription; report: CheckReport }>;
}
