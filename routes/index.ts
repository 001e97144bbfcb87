// The table of contents: mounts every resource.

import { logRequest } from '../src/http/server.ts';
import { compactRoutes } from './compactions.ts';
import { copyRoutes } from './copies.ts';
import { chainRoutes } from './chains.ts';
import { dataRoutes } from './data.ts';
import { exportRoutes } from './exports.ts';
import { extentRoutes } from './extents.ts';
import { handOverRoutes } from './hand-over.ts';
import { imageRoutes } from './images.ts';
import { importRoutes } from './imports.ts';
import { jobRoutes } from './jobs.ts';
import { leaseRoutes } from './leases.ts';
import { lockRoutes } from './locks.ts';
import { measureRoutes } from './measure.ts';
import type { RouteParts, Routes } from './route-parts.ts';
import { bitmapRoutes } from './bitmaps.ts';
import { snapshotDataRoutes, snapshotRoutes } from './snapshots.ts';
import { systemRoutes } from './system.ts';
import { upkeepRoutes } from './upkeep.ts';
import { usageRoutes } from './usage.ts';
import { vmStateRoutes } from './vm-states.ts';

/** All routes; the bytes apart from the rest, because they take any body and leave no line in the log. */
export function allRoutes(parts: RouteParts): Routes {
  return async (app) => {
    await app.register(controlRoutes(parts));
    await app.register(byteRoutes(parts));
  };
}

function controlRoutes(parts: RouteParts): Routes {
  return async (app) => {
    app.addHook('onResponse', logRequest);
    await app.register(systemRoutes(parts));
    await app.register(usageRoutes(parts));
    await app.register(imageRoutes(parts.services), { prefix: '/v1' });
    await app.register(copyRoutes(parts.services), { prefix: '/v1' });
    await app.register(compactRoutes(parts.services), { prefix: '/v1' });
    await app.register(handOverRoutes(parts.services), { prefix: '/v1' });
    await app.register(lockRoutes(parts.services), { prefix: '/v1' });
    await app.register(measureRoutes(parts.services), { prefix: '/v1' });
    await app.register(upkeepRoutes(parts.services), { prefix: '/v1' });
    await app.register(chainRoutes(parts.services), { prefix: '/v1' });
    await app.register(snapshotRoutes(parts.services), { prefix: '/v1' });
    await app.register(bitmapRoutes(parts.services), { prefix: '/v1' });
    await app.register(jobRoutes(parts.services), { prefix: '/v1' });
    await app.register(leaseRoutes(parts.services), { prefix: '/v1' });
    await app.register(extentRoutes(parts.services), { prefix: '/v1' });
  };
}

function byteRoutes(parts: RouteParts): Routes {
  return async (app) => {
    await app.register(dataRoutes(parts.services, parts.express), { prefix: '/v1' });
    await app.register(snapshotDataRoutes(parts.services), { prefix: '/v1' });
    await app.register(vmStateRoutes(parts.services), { prefix: '/v1' });
    await app.register(exportRoutes(parts.services), { prefix: '/v1' });
    await app.register(importRoutes(parts.services), { prefix: '/v1' });
  };
}
