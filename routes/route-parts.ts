// What routes are made of.

import type { App } from '../src/http/schema.ts';
import type { Services } from '../src/services/services.ts';

export interface RouteParts {
  readonly services: Services;
  /** What the service calls itself. */
  readonly identity: { readonly name: string; readonly version: string };
  readonly isDraining: () => boolean;
}

/** Routes of one resource: a plugin with the services in its closure. */
export type Routes = (app: App) => Promise<void>;
