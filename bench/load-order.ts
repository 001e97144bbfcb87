// What the load generator is told to do, and what it tells afterwards.

/** Requests for ranges of one content, over connections that stay. */
export interface LoadOrder {
  readonly port: number;
  readonly method: 'GET' | 'PUT';
  /** Path and query. */
  readonly path: string;
  readonly connections: number;
  /** Lines besides those that every request has. */
  readonly headers: readonly string[];
  /** Of each request, in bytes. */
  readonly rangeLength: number;
  /** Of the content, in bytes. */
  readonly contentLength: number;
  /**
   * `random`: ranges at multiples of their length, until the time is over. `each`: one range at every multiple of
   * `stride`, in order, until `requests` are answered.
   */
  readonly order:
    | { readonly kind: 'random'; readonly seconds: number }
    | { readonly kind: 'each'; readonly stride: number; readonly requests: number };
}

export interface LoadResult {
  readonly requests: number;
  readonly bytes: number;
  readonly seconds: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

/** What the load generator's process answers, in the order of its orders. */
export type LoadAnswer =
  { readonly kind: 'done'; readonly result: LoadResult } | { readonly kind: 'failed'; readonly reason: string };
