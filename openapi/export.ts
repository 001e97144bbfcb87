// Builds the service over an empty catalog and writes openapi.json; with --check it fails when the file has drifted.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { createApplication } from '../src/app.ts';
import { loadConfig } from '../src/config.ts';

const file = new URL('./openapi.json', import.meta.url);

/** The document as it is committed. */
export async function printDocument(): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'qcowd-openapi-'));
  try {
    const settings = { QCOWD_DATA_DIR: folder, QCOWD_LOG_LEVEL: 'silent' };
    const application = await createApplication({
      config: loadConfig(settings, { cores: 1 }),
      identity: readIdentity(),
      engine: 'inline',
    });
    const document = application.server.swagger();
    await application.stop();
    return `${JSON.stringify(document, undefined, 2)}\n`;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** The document that is committed now. */
export function readCommitted(): string {
  return readFileSync(file, 'utf8');
}

function readIdentity(): { readonly name: string; readonly version: string } {
  const text = readFileSync(new URL('../package.json', import.meta.url), 'utf8');
  const { name, version } = JSON.parse(text) as { readonly name: string; readonly version: string };
  return { name, version };
}

if (import.meta.main) {
  const document = await printDocument();
  if (!process.argv.includes('--check')) {
    writeFileSync(file, document);
  } else if (document !== readCommitted()) {
    process.stderr.write('openapi/openapi.json has drifted from the routes. Run `npm run openapi` and commit it.\n');
    process.exitCode = 1;
  }
}
