import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { createClient } from '@hey-api/openapi-ts';

import { startService } from '../support/service-process.ts';
import { tempFolder } from '../support/temp-folder.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const examples = join(root, 'docs/client');
const compiler = join(root, 'node_modules/typescript-native/bin/tsc');
/** Only a watchdog: a busy machine compiles slowly. */
const timeout = 300_000;
const folder = tempFolder();

/** Runs a script of Node in the folder; what it wrote. */
async function run(script: string, ...words: readonly string[]): Promise<string> {
  const child = spawn(process.execPath, [script, ...words], { cwd: folder.path, stdio: ['ignore', 'pipe', 'pipe'] });
  let text = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (piece: Buffer) => (text += piece.toString()));
  await once(child, 'close');
  assert.equal(child.exitCode, 0, text);
  return text;
}

before(async () => {
  for (const name of readdirSync(examples)) copyFileSync(join(examples, name), join(folder.path, name));
  writeFileSync(join(folder.path, 'package.json'), '{ "type": "module" }\n');
  mkdirSync(join(folder.path, 'node_modules'));
  symlinkSync(join(root, 'node_modules/@types'), join(folder.path, 'node_modules/@types'));
  symlinkSync(join(root, 'node_modules/undici-types'), join(folder.path, 'node_modules/undici-types'));
  await createClient({
    input: join(root, 'openapi/openapi.json'),
    output: { path: join(folder.path, 'qcowd'), module: { extension: '.ts' } },
    logs: { level: 'silent', file: false },
  });
});
after(() => folder[Symbol.dispose]());

describe('the TypeScript client that is made from openapi.json', { timeout }, () => {
  test('has the types that a program against it wants, strictly', async () => {
    assert.equal(await run(compiler, '-p', folder.path), '');
  });

  test('creates, writes, reads, takes a snapshot, checks, lists, meets a problem and waits for a job', async () => {
    using data = tempFolder();
    await using service = await startService({ QCOWD_DATA_DIR: data.path });
    assert.equal(await run(join(folder.path, 'first-day.ts'), service.url), 'done\n');
  });
});
