// The table of contents: mounts every resource.

import { logRequest } from '../src/http/server.ts';
import type { App } from '../src/http/schema.ts';
import type { Services } from '../src/services/services.ts';
import { dataRoutes } from './data.ts';
import { exportRoutes } from './exports.ts';
import { extentRoutes } from './extents.ts';
import { imageRoutes } from './images.ts';
import { importRoutes } from './imports.ts';
import { snapshotDataRoutes, snapshotRoutes } from './snapshots.ts';
import { systemRoutes } from './system.ts';
import { upkeepRoutes } from './upkeep.ts';

/** What routes are made of. */
export interface RouteParts {
  readonly services: Services;
  /** What the service calls itself. */
  readonly identity: { readonly name: string; readonly version: string };
  readonly isDraining: () => boolean;
}

/** All routes; the bytes apart from the rest, because they take any body and leave no line in the log. */
export function allRoutes(parts: RouteParts) {
  return async (app: App): Promise<void> => {
    await app.register(controlRoutes(parts));
    await app.register(byteRoutes(parts));
  };
}

function controlRoutes(parts: RouteParts) {
  return async (app: App): Promise<void> => {
    app.addHook('onResponse', logRequest);
    await app.register(systemRoutes(parts));
    await app.register(imageRoutes(parts.services), { prefix: '/v1' });
    await app.register(upkeepRoutes(parts.services), { prefix: '/v1' });
    await app.register(snapshotRoutes(parts.services), { prefix: '/v1' });
    await app.register(extentRoutes(parts.services), { prefix: '/v1' });
  };
}

function byteRoutes(parts: RouteParts) {
  return async (app: App): Promise<void> => {
    await app.register(dataRoutes(parts.services), { prefix: '/v1' });
    await app.register(snapshotDataRoutes(parts.services), { prefix: '/v1' });
    await app.register(exportRoutes(parts.services), { prefix: '/v1' });
    await app.register(importRoutes(parts.services), { prefix: '/v1' });
  };
}
