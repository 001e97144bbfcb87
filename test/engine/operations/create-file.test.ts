// The file of a new image: complete under its name, or not there at all.

import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';

import { Fault } from '../../../src/base/fault.ts';
import { createFile } from '../../../src/engine/operations/create-file.ts';
import { runToEnd } from '../../../src/engine/operations/steps.ts';
import { ImageBytes } from '../../support/image-bytes.ts';
import { smallSpec } from '../../support/plain-spec.ts';
import { tempFolder } from '../../support/temp-folder.ts';

function faultOf(act: () => unknown): Fault {
  try {
    act();
  } catch (error) {
    assert.ok(error instanceof Fault, String(error));
    return error;
  }
  return assert.fail('it faults');
}

describe('a new image file', () => {
  it('is there at the end, for its owner only', () => {
    using folder = tempFolder();
    const path = join(folder.path, 'new.qcow2');
    runToEnd(createFile(path, smallSpec));
    assert.deepEqual(readdirSync(folder.path), ['new.qcow2']);
    assert.equal(statSync(path).mode & 0o777, 0o600);
    // FMT-01, FMT-03.
    assert.equal(readFileSync(path).subarray(0, 8).toString('hex'), '514649fb00000003');
  });

  it('has no magic before everything else is in it', () => {
    using folder = tempFolder();
    const path = join(folder.path, 'new.qcow2');
    const steps = createFile(path, { ...smallSpec, virtualSize: 12 * 1024 ** 2, preallocation: 'full' });
    let count = 0;
    while (steps.next().done !== true) {
      count += 1;
      const head = readFileSync(path).subarray(0, 4).toString('hex');
      assert.ok(head === '' || head === '00000000', `step ${String(count)}: ${head}`);
    }
    assert.ok(count > 1, 'it is made in steps');
    assert.equal(ImageBytes.read(path).u32(0), 0x5146_49fb);
  });

  it('is gone when it is given up, whatever was done by then', () => {
    for (const stepCount of [1, 2]) {
      using folder = tempFolder();
      const path = join(folder.path, 'new.qcow2');
      const steps = createFile(path, { ...smallSpec, virtualSize: 12 * 1024 ** 2, preallocation: 'full' });
      for (let step = 0; step < stepCount; step += 1) assert.equal(steps.next().done, false);
      assert.ok(existsSync(path));
      let ended = steps.return();
      while (ended.done !== true) ended = steps.next();
      assert.deepEqual(readdirSync(folder.path), []);
    }
  });

  it('is gone when it cannot be made', () => {
    using folder = tempFolder();
    const path = join(folder.path, 'new.qcow2');
    const fault = faultOf(() => {
      runToEnd(createFile(path, { ...smallSpec, clusterSize: 1000 }));
    });
    assert.equal(fault.code, 'invalid-geometry');
    assert.deepEqual(readdirSync(folder.path), []);
  });

  it('is not made over another one, which stays as it is', () => {
    using folder = tempFolder();
    const path = join(folder.path, 'old.qcow2');
    writeFileSync(path, 'precious');
    const fault = faultOf(() => {
      runToEnd(createFile(path, smallSpec));
    });
    assert.deepEqual([fault.code, fault.context['systemCode']], ['io-error', 'EEXIST']);
    assert.equal(readFileSync(path, 'utf8'), 'precious');
  });

  it('takes no data file that is there: it stays as it is (DAT-07)', () => {
    using folder = tempFolder();
    const [path, data] = [join(folder.path, 'new.qcow2'), join(folder.path, 'old.data')];
    writeFileSync(data, 'precious');
    const fault = faultOf(() => {
      runToEnd(createFile(path, { ...smallSpec, dataFile: { fileName: 'old.data', path: data, raw: true } }));
    });
    assert.deepEqual([fault.code, fault.context['systemCode']], ['io-error', 'EEXIST']);
    assert.deepEqual(readdirSync(folder.path), ['old.data']);
    assert.equal(readFileSync(data, 'utf8'), 'precious');
  });

  it('needs its folder', () => {
    using folder = tempFolder();
    const fault = faultOf(() => {
      runToEnd(createFile(join(folder.path, 'nowhere', 'new.qcow2'), smallSpec));
    });
    assert.deepEqual([fault.code, fault.context['systemCode']], ['io-error', 'ENOENT']);
  });
});
