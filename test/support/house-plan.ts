// The plan of the house as data: which room may import which, and what only some files may do (docs/architecture.md).

/** One room: where it lies, what of ours it may import, and which packages and built-ins. */
export interface Room {
  /** A folder (ending in a slash) or a file. The longest one that fits a file is its room. */
  readonly path: string;
  /** Folders and files that this room may import, beside itself. */
  readonly mayImport: readonly string[];
  /** Built-ins as `node:x`; a package name; `@scope/*` for all packages of a scope. */
  readonly packages: readonly string[];
}

const base = ['src/base/'];
const format = ['src/engine/format/', ...base];
const file = ['src/engine/file/', 'src/system/', ...format];
const metadata = ['src/engine/metadata/', ...file];
const allocation = ['src/engine/allocation/', ...metadata];
const belowMapping = ['src/engine/layer/', 'src/engine/transform/', ...allocation];
const guestData = ['src/engine/guest-data.ts', 'src/engine/transform/', ...file];
const parts = ['src/engine/image-parts.ts', 'src/engine/guest-data.ts', ...belowMapping];
const mapping = ['src/engine/mapping/', ...parts];
const data = ['src/engine/data/', ...mapping];
const operations = ['src/engine/operations/', ...data];
const poolFace = ['src/pool/engine-pool.ts', 'src/pool/protocol.ts'];
const webPackages = ['fastify', '@fastify/*', 'fastify-zod-openapi', 'zod', 'zod-openapi'];
const webBuiltIns = ['node:http', 'node:net', 'node:stream', 'node:crypto'];

export const rooms: readonly Room[] = [
  { path: 'src/base/', mayImport: [], packages: [] },
  { path: 'src/system/', mayImport: base, packages: ['node:module', 'koffi'] },

  { path: 'src/engine/format/', mayImport: base, packages: [] },
  {
    path: 'src/engine/file/',
    mayImport: ['src/engine/format/offsets.ts', 'src/system/', ...base],
    packages: ['node:fs'],
  },
  { path: 'src/engine/transform/', mayImport: format, packages: ['node:zlib', 'node:crypto'] },
  { path: 'src/engine/layer/', mayImport: file, packages: ['node:path'] },
  { path: 'src/engine/metadata/', mayImport: file, packages: [] },
  { path: 'src/engine/allocation/', mayImport: metadata, packages: [] },
  { path: 'src/engine/guest-data.ts', mayImport: guestData, packages: [] },
  { path: 'src/engine/image-parts.ts', mayImport: parts, packages: [] },
  { path: 'src/engine/mapping/', mayImport: parts, packages: [] },
  { path: 'src/engine/data/', mayImport: mapping, packages: [] },
  { path: 'src/engine/operations/', mayImport: operations, packages: [] },
  { path: 'src/engine/bitmap-verbs.ts', mayImport: operations, packages: [] },
  { path: 'src/engine/key-verbs.ts', mayImport: ['src/engine/bitmap-verbs.ts', ...operations], packages: [] },
  { path: 'src/engine/chain-verbs.ts', mayImport: ['src/engine/key-verbs.ts', ...operations], packages: [] },
  { path: 'src/engine/image.ts', mayImport: ['src/engine/chain-verbs.ts', ...operations], packages: [] },

  {
    path: 'src/pool/',
    mayImport: ['src/engine/image.ts', ...base],
    packages: ['node:worker_threads', 'node:crypto', 'node:util'],
  },
  { path: 'src/store/', mayImport: ['src/system/', ...base], packages: ['node:fs', 'node:path', 'node:crypto'] },
  { path: 'src/catalog/', mayImport: base, packages: ['better-sqlite3', 'node:fs'] },
  {
    path: 'src/services/',
    mayImport: [...poolFace, 'src/catalog/catalog.ts', 'src/store/', ...base],
    packages: ['node:crypto'],
  },

  { path: 'src/http/', mayImport: base, packages: [...webPackages, ...webBuiltIns] },
  {
    path: 'routes/',
    mayImport: ['src/services/services.ts', 'src/http/', ...base],
    packages: ['fastify', 'zod'],
  },

  { path: 'src/config.ts', mayImport: base, packages: ['zod'] },
  {
    path: 'src/entrance.ts',
    mayImport: ['src/services/access-tokens.ts', 'src/store/', ...base],
    packages: ['node:fs'],
  },
  { path: 'src/stop-phases.ts', mayImport: [], packages: [] },
  {
    path: 'src/app.ts',
    mayImport: ['src/', 'routes/index.ts', 'routes/document.ts', 'routes/operation-scopes.ts', 'routes/route-parts.ts'],
    packages: ['*'],
  },
  { path: 'src/main.ts', mayImport: ['src/app.ts', 'src/config.ts', ...base], packages: ['*'] },
  { path: 'openapi/export.ts', mayImport: ['src/app.ts', 'src/config.ts', ...base], packages: ['*'] },

  { path: 'test/', mayImport: ['src/', 'routes/', 'openapi/', 'bench/'], packages: ['*'] },
  { path: 'bench/', mayImport: ['src/', 'routes/', 'test/'], packages: ['*'] },
];

/** Where a process or a thread begins. Everything under `src/` and `routes/` is reached from one of them. */
export const entries = ['src/main.ts', 'src/pool/worker.ts', 'src/pool/codec-worker.ts', 'openapi/export.ts'] as const;

/** The only files under `src/` and `routes/` that may ask for the time, for chance and for the environment. */
export const mayTouchTheWorld = ['src/main.ts', 'src/app.ts', 'src/pool/worker.ts'] as const;

/** A longer file holds two thoughts. */
export const fileLinesMax = 400;

/** Exceptions, each with its reason. A reason that no longer holds goes, and its line with it. */
export const exceptions: {
  /** Imports beyond the room's row: `importer -> imported`. */
  readonly imports: readonly { readonly from: string; readonly to: string; readonly why: string }[];
  /** Files longer than {@link fileLinesMax}. */
  readonly longFiles: readonly { readonly path: string; readonly why: string }[];
  /** Files of the product that no entry leads to. */
  readonly unreached: readonly { readonly path: string; readonly why: string }[];
} = {
  imports: [],
  longFiles: [],
  unreached: [
    { path: 'src/engine/file/memory-file.ts', why: 'the contract of a file in memory, for whoever needs no disk' },
  ],
};
