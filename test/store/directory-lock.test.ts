import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { statSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

import { DirectoryLock } from '../../src/store/directory-lock.ts';
import { tempFolder } from '../support/temp-folder.ts';

test('a directory has one owner at a time', () => {
  using folder = tempFolder();
  {
    using first = take(folder.path);
    assert.ok(first);
    assert.equal(DirectoryLock.take(folder.path).kind, 'taken');
  }
  using second = take(folder.path);
  assert.ok(second);
  assert.equal(statSync(join(folder.path, 'lock')).mode & 0o777, 0o600);
});

test('an owner that is killed leaves nothing behind', { timeout: 60_000 }, async () => {
  using folder = tempFolder();
  const module = new URL('../../src/store/directory-lock.ts', import.meta.url).href;
  const script = `const { DirectoryLock } = await import(${JSON.stringify(module)});
    console.log(DirectoryLock.take(${JSON.stringify(folder.path)}).kind);
    setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [said] = (await once(child.stdout, 'data')) as [Buffer];
  assert.equal(said.toString().trim(), 'own');
  assert.equal(DirectoryLock.take(folder.path).kind, 'taken');
  const exit = once(child, 'exit');
  child.kill('SIGKILL');
  await exit;
  using lock = take(folder.path);
  assert.ok(lock);
});

test('the lock is never put on a file elsewhere', () => {
  using folder = tempFolder();
  symlinkSync(join(folder.path, 'elsewhere'), join(folder.path, 'lock'));
  assert.throws(() => DirectoryLock.take(folder.path), { code: 'ELOOP' });
});

function take(path: string): DirectoryLock {
  const answer = DirectoryLock.take(path);
  assert.equal(answer.kind, 'own');
  return (answer as { readonly lock: DirectoryLock }).lock;
}
