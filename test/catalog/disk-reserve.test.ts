import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';

import { DiskReserve, orFault } from '../../src/catalog/disk-reserve.ts';
import { faultCodeOf } from '../support/faults.ts';
import { tempFolder } from '../support/temp-folder.ts';

function full(): never {
  throw Object.assign(new Error('database or disk is full'), { code: 'SQLITE_FULL' });
}

describe('the reserve of the catalog', () => {
  test('is given up for a work that finds the disk full, and taken again', () => {
    using folder = tempFolder();
    const path = join(folder.path, 'reserve');
    const reserve = new DiskReserve(path);
    assert.ok(existsSync(path));
    const result = reserve.using(() => (existsSync(path) ? full() : 'done'));
    assert.equal(result, 'done');
    assert.equal(existsSync(path), false);
    reserve.keep();
    assert.ok(existsSync(path));
  });

  test('does not help when the disk stays full', () => {
    using folder = tempFolder();
    const reserve = new DiskReserve(join(folder.path, 'reserve'));
    assert.equal(
      faultCodeOf(() => reserve.using(full)),
      'insufficient-storage',
    );
    assert.equal(
      faultCodeOf(() => orFault(full)),
      'insufficient-storage',
    );
  });

  test('lets every other failure through', () => {
    const reserve = new DiskReserve(undefined);
    const broken = (): never => {
      throw new Error('something else');
    };
    assert.throws(() => reserve.using(broken), /something else/);
  });
});
