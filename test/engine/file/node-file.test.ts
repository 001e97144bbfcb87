// A real file: the contract with and without the Linux calls, what it refuses, and what a failed flush means.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, readdirSync, readlinkSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';

import { BrokenAssertion } from '../../../src/base/assert.ts';
import { Fault } from '../../../src/base/fault.ts';
import { GiB } from '../../../src/base/units.ts';
import { MemoryFile } from '../../../src/engine/file/memory-file.ts';
import { NodeFile } from '../../../src/engine/file/node-file.ts';
import { loadSystemCalls } from '../../../src/system/system-calls.ts';
import { hostOffset } from '../../../src/engine/format/offsets.ts';
import { byteFileContract } from '../../contracts/byte-file.ts';
import { exchangeDescriptor } from '../../support/exchanged-descriptor.ts';
import { Prng } from '../../support/prng.ts';
import { tempFolder } from '../../support/temp-folder.ts';

const folder = tempFolder();
after(() => {
  folder[Symbol.dispose]();
});
let fileCount = 0;

function freshPath(): string {
  fileCount += 1;
  return join(folder.path, `file-${String(fileCount)}`);
}

byteFileContract('NodeFile', () => NodeFile.create(freshPath()));

byteFileContract('NodeFile without Linux calls', () => {
  const path = freshPath();
  writeFileSync(path, '');
  return NodeFile.openPortably(path, { writable: true });
});

describe('opening a file', () => {
  it('finds the size of a file that is there', () => {
    const path = freshPath();
    writeFileSync(path, 'abc');
    const file = NodeFile.open(path, { writable: false, locks: 'qemu' });
    assert.equal(file.size, 3);
    file.close();
  });

  it('refuses a file that is not there', () => {
    assert.throws(
      () => NodeFile.open(freshPath(), { writable: false, locks: 'qemu' }),
      isFault('io-error', { systemCode: 'ENOENT' }),
    );
  });

  it('refuses a symbolic link', () => {
    const path = freshPath();
    const link = freshPath();
    writeFileSync(path, 'abc');
    symlinkSync(path, link);
    assert.throws(
      () => NodeFile.open(link, { writable: false, locks: 'qemu' }),
      isFault('io-error', { systemCode: 'ELOOP' }),
    );
  });

  it('refuses a folder, a device and a named pipe without waiting for it', () => {
    const inside = freshPath();
    mkdirSync(inside);
    const pipe = freshPath();
    execFileSync('mkfifo', [pipe]);
    const reason = 'not a regular file';
    assert.throws(() => NodeFile.open(inside, { writable: false, locks: 'qemu' }), isFault('io-error', { reason }));
    assert.throws(
      () => NodeFile.open('/dev/zero', { writable: false, locks: 'qemu' }),
      isFault('io-error', { reason }),
    );
    assert.throws(() => NodeFile.open(pipe, { writable: false, locks: 'qemu' }), isFault('io-error', { reason }));
    assert.throws(() => NodeFile.open(pipe, { writable: true, locks: 'qemu' }), isFault('io-error', { reason }));
  });

  it('leaves no descriptor behind when it refuses', () => {
    const before = readdirSync('/proc/self/fd').length;
    for (let round = 0; round < 5; round += 1) {
      assert.throws(() => NodeFile.open('/dev/zero', { writable: false, locks: 'qemu' }), Fault);
    }
    assert.equal(readdirSync('/proc/self/fd').length, before);
  });

  it('creates only where nothing is', () => {
    const path = freshPath();
    NodeFile.create(path).close();
    assert.equal(statSync(path).mode & 0o777, 0o600);
    assert.throws(() => NodeFile.create(path), isFault('io-error', { systemCode: 'EEXIST' }));
  });

  it('takes no change of a file that was opened for reading', () => {
    const path = freshPath();
    writeFileSync(path, 'abc');
    const file = NodeFile.open(path, { writable: false, locks: 'qemu' });
    assert.throws(() => {
      file.writeAt(hostOffset(0), Uint8Array.of(1));
    }, BrokenAssertion);
    assert.throws(() => {
      file.flush();
    }, BrokenAssertion);
    file.close();
    assert.throws(() => {
      file.readAt(hostOffset(0), new Uint8Array(1));
    }, BrokenAssertion);
    assert.equal(readFileSync(path, 'utf8'), 'abc');
  });
});

describe('space', () => {
  it('has the Linux calls on Linux', () => {
    const loaded = loadSystemCalls();
    assert.deepEqual('missing' in loaded ? loaded.missing : 'there', 'there');
  });

  it('gives punched space back and reserves space (T85)', () => {
    const file = NodeFile.create(freshPath());
    file.writeAt(hostOffset(0), new Uint8Array(1_048_576).fill(1));
    file.flush();
    const full = file.allocatedSize;
    file.punch(hostOffset(0), 524_288);
    assert.ok(file.allocatedSize <= full - 500_000);
    assert.deepEqual(file.nextData(hostOffset(0)), { offset: 524_288, length: 524_288 });
    const punched = file.allocatedSize;
    file.preallocate(hostOffset(0), 524_288);
    assert.ok(file.allocatedSize >= punched + 500_000);
    file.close();
  });

  it('reserves space without Linux calls and keeps every byte', () => {
    const path = freshPath();
    writeFileSync(path, 'abc');
    const file = NodeFile.openPortably(path, { writable: true });
    file.preallocate(hostOffset(0), 3_000_000);
    file.flush();
    assert.ok(file.allocatedSize >= 3_000_000);
    const target = new Uint8Array(4);
    file.readAt(hostOffset(0), target);
    assert.deepEqual(target, Uint8Array.of(97, 98, 99, 0));
    file.close();
  });

  it('refuses a reservation that is larger than the disk and leaves the file as it was', () => {
    const file = NodeFile.create(freshPath());
    file.writeAt(hostOffset(0), Uint8Array.of(1, 2, 3));
    assert.throws(
      () => {
        file.preallocate(hostOffset(0), 2 ** 52);
      },
      isFault('insufficient-storage', {}),
    );
    assert.equal(file.size, 3);
    assert.ok(file.allocatedSize <= 65_536);
    file.close();
  });

  it('names a file size that the system does not allow insufficient storage, behind a short write (T85)', () => {
    const script = [
      "import { NodeFile } from './src/engine/file/node-file.ts';",
      "process.on('SIGXFSZ', () => undefined);",
      'const file = NodeFile.create(process.argv[1]);',
      'const say = (act) => { try { act(); return "done"; } catch (fault) { return fault.code; } };',
      "const open = () => NodeFile.open(process.argv[1], { writable: true, locks: 'none', hostCopies: true });",
      "const long = NodeFile.open(process.execPath, { writable: false, locks: 'none' });",
      'const copied = say(() => open().copyFrom(0, long, { offset: 0, length: 200_000 }));',
      'const sizeAfterCopy = open().size;',
      'file.resize(0);',
      'const written = say(() => file.writeAt(0, new Uint8Array(200_000).fill(1)));',
      'const sizeAfterWrite = file.size;',
      'const reserved = say(() => file.preallocate(0, 200_000));',
      'const cut = say(() => file.resize(200_000));',
      'console.log(JSON.stringify({ copied, sizeAfterCopy, written, sizeAfterWrite, reserved, cut, size: file.size }));',
    ].join('\n');
    const answer = execFileSync(
      '/bin/bash',
      [
        '-c',
        'unset NODE_V8_COVERAGE; ulimit -f 100 && exec "$0" --input-type=module -e "$1" "$2"',
        process.execPath,
        script,
        freshPath(),
      ],
      { encoding: 'utf8' },
    );
    assert.deepEqual(JSON.parse(answer), {
      copied: 'insufficient-storage',
      sizeAfterCopy: 102_400,
      written: 'insufficient-storage',
      sizeAfterWrite: 102_400,
      reserved: 'insufficient-storage',
      cut: 'insufficient-storage',
      size: 102_400,
    });
  });
});

describe('bytes of another file', () => {
  const far = 5 * GiB;

  function pair(wants: boolean): { readonly source: NodeFile; readonly target: NodeFile; readonly path: string } {
    const [from, path] = [freshPath(), freshPath()];
    NodeFile.create(path).close();
    const target = NodeFile.open(path, { writable: true, locks: 'none', hostCopies: wants });
    return { source: NodeFile.create(from), target, path };
  }

  it('are copied by the kernel, wherever they lie, up to the end of theirs', () => {
    const { source, target, path } = pair(true);
    const bytes = new Prng(3).bytes(300_000);
    source.writeAt(hostOffset(far), bytes);
    assert.equal(target.copyBlock, 4096);
    assert.equal(target.copyFrom(hostOffset(7), source, { offset: far, length: 1 }), 1);
    const at = hostOffset(6 * GiB + 4096);
    assert.equal(target.copyFrom(at, source, { offset: far + 8192, length: 300_000 }), 300_000 - 8192);
    assert.equal(target.copyFrom(at, source, { offset: far + 300_000, length: 10 }), 0);
    assert.equal(target.size, at + 300_000 - 8192);
    assert.equal(statSync(path).size, target.size);
    const copied = new Uint8Array(300_000 - 8192);
    target.readAt(at, copied);
    assert.deepEqual(copied, bytes.subarray(8192));
    target.readAt(hostOffset(7), copied.subarray(0, 2));
    assert.deepEqual(copied.subarray(0, 2), Uint8Array.of(bytes[0] ?? 0, 0));
    source.close();
    target.close();
  });

  it('are not copied unless somebody wants it, nor where the kernel refuses', () => {
    const span = { offset: 0, length: 5 };
    const five = Uint8Array.of(1, 2, 3, 4, 5);
    const unwanted = pair(false);
    unwanted.source.writeAt(hostOffset(0), five);
    assert.equal(unwanted.target.copyBlock, undefined);
    assert.equal(unwanted.target.copyFrom(hostOffset(0), unwanted.source, span), 0);
    const same = pair(true);
    assert.equal(same.target.copyFrom(hostOffset(0), MemoryFile.of(five), span), 0);
    assert.equal(same.target.copyBlock, 4096);
    same.target.writeAt(hostOffset(0), five);
    // EINVAL: the spans lie over each other.
    assert.equal(same.target.copyFrom(hostOffset(1), same.target, { offset: 0, length: 4 }), 0);
    assert.equal(same.target.copyBlock, undefined);
    const other = pair(true);
    const path = freshPath();
    const elsewhere = NodeFile.create(path);
    exchangeDescriptor(path, '/proc/version');
    // EXDEV: another file system.
    assert.equal(other.target.copyFrom(hostOffset(0), elsewhere, span), 0);
    assert.equal(other.target.copyBlock, undefined);
    assert.equal(other.target.size, 0);
    for (const { source, target } of [unwanted, same, other]) {
      source.close();
      target.close();
    }
    elsewhere.close();
  });
});

describe('a failed flush', () => {
  it('makes the file read-only and lets reads go on', () => {
    const path = freshPath();
    const file = NodeFile.create(path);
    file.writeAt(hostOffset(0), Uint8Array.of(1));
    const standIn = exchangeDescriptor(path, '/proc/version');
    assert.throws(
      () => {
        file.flush();
      },
      isFault('io-error', { operation: 'flush', systemCode: 'EINVAL' }),
    );

    const readOnly = isFault('image-read-only', { reason: 'a flush failed', diskFailed: true });
    const changes: readonly (() => void)[] = [
      () => {
        file.writeAt(hostOffset(0), Uint8Array.of(2));
      },
      () => {
        file.punch(hostOffset(0), 1);
      },
      () => {
        file.preallocate(hostOffset(0), 10);
      },
      () => {
        file.resize(0);
      },
      () => {
        file.startWriteBack(hostOffset(0), 1);
      },
      () => {
        file.flush();
      },
    ];
    for (const change of changes) assert.throws(change, readOnly);

    const target = new Uint8Array(5);
    file.readAt(hostOffset(0), target);
    assert.equal(Buffer.from(target).toString(), 'Linux');
    file.close();
    assert.throws(() => readlinkSync(`/proc/self/fd/${String(standIn)}`));
  });

  it('counts a failed write-back as one', () => {
    const path = freshPath();
    const file = NodeFile.create(path);
    file.writeAt(hostOffset(0), Uint8Array.of(1));
    exchangeDescriptor(path, '/dev/zero');
    assert.throws(
      () => {
        file.startWriteBack(hostOffset(0), 1);
      },
      isFault('io-error', {}),
    );
    assert.throws(
      () => {
        file.flush();
      },
      isFault('image-read-only', {}),
    );
    file.close();
  });
});

function isFault(code: string, context: Readonly<Record<string, unknown>>): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof Fault, String(error));
    assert.equal(error.code, code);
    for (const [key, value] of Object.entries(context)) assert.equal(error.context[key], value);
    return true;
  };
}
