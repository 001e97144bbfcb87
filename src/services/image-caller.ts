// For whom an image is used, and what everybody who uses it knows of it at any time.

/** For whom a call is made. */
export interface CallerOptions {
  /** Whether the caller came to change the image. */
  readonly changes: boolean;
  readonly signal: AbortSignal | undefined;
}

/** What every answer of the image's thread brings up to date. */
export interface ImagePulse {
  readonly virtualSize: number;
  readonly generation: number;
  readonly lossCount: number;
}
