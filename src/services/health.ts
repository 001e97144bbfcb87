// Whether the service can serve, told by those it depends on.

/** `low`: deletes get through, but large writes may not. */
export interface HealthReport {
  readonly catalog: 'ok' | 'failing';
  readonly dataDirectory: 'ok' | 'failing';
  readonly freeSpace: 'ok' | 'low' | 'unknown';
  readonly freeBytes: number | undefined;
}

export declare class Health {
  /** Never faults. */
  check(): Promise<HealthReport>;
}
