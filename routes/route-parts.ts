// What routes are made of.

import type { ExpressLane } from '../src/http/express-lane.ts';
import type { RequestMetrics } from '../src/http/request-metrics.ts';
import type { App } from '../src/http/schema.ts';
import type { Services } from '../src/services/services.ts';

export interface RouteParts {
  readonly services: Services;
  readonly express: ExpressLane;
  /** What the service calls itself. */
  readonly identity: { readonly name: string; readonly version: string };
  readonly isDraining: () => boolean;
  readonly metrics: RequestMetrics;
  readonly processFigures: () => ProcessFigures;
}

/** What the process takes of the machine. */
export interface ProcessFigures {
  readonly residentBytes: number;
  readonly cpuSeconds: number;
}

/** Routes of one resource: a plugin with the services in its closure. */
export type Routes = (app: App) => Promise<void>;
