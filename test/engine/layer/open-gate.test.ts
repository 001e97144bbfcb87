// The gate before every implicit open: what is admitted and why the rest is refused.

import assert from 'node:assert/strict';
import { it } from 'node:test';

import { Fault } from '../../../src/base/fault.ts';
import { admitBacking, chainDepthMax } from '../../../src/engine/layer/open-gate.ts';
import type { BackingClaim, BackingFile } from '../../../src/engine/layer/open-gate.ts';

const base: BackingFile = { fileName: 'base.qcow2', path: '/images/img_1.qcow2', format: 'qcow2' };
const root: BackingFile = { fileName: 'root.raw', path: '/images/img_2.raw', format: 'raw' };

function refusal(claim: BackingClaim, chain: readonly BackingFile[]): unknown {
  try {
    admitBacking(claim, chain);
  } catch (error) {
    assert.ok(error instanceof Fault);
    return { code: error.code, ...error.context };
  }
  return undefined;
}

it('admits the nearest file under the name that the header holds, and hands on the rest', () => {
  const claim = { fileName: 'base.qcow2', format: 'qcow2' };
  assert.deepEqual(admitBacking(claim, [base, root]), { file: base, below: [root] });
  assert.deepEqual(admitBacking({ fileName: 'root.raw', format: undefined }, [root]), { file: root, below: [] });
});

it('refuses every name when nothing is listed', () => {
  for (const fileName of ['base.qcow2', '/etc/passwd', 'json:{}', 'nbd://host/x', '']) {
    const refused = { code: 'backing-refused', fileName, reason: 'no file may be opened' };
    assert.deepEqual(refusal({ fileName, format: undefined }, []), refused);
  }
});

it('refuses a name that is not the next in the chain, however it is spelled (T81)', () => {
  for (const fileName of ['root.raw', './base.qcow2', '/images/base.qcow2', 'base.qcow2\0', 'file:base.qcow2']) {
    assert.deepEqual(refusal({ fileName, format: undefined }, [base, root]), {
      code: 'backing-refused',
      fileName,
      reason: 'another file is expected',
      expected: 'base.qcow2',
    });
  }
});

it('refuses a header that tells another format than the caller knows', () => {
  assert.deepEqual(refusal({ fileName: 'base.qcow2', format: 'raw' }, [base]), {
    code: 'backing-refused',
    fileName: 'base.qcow2',
    reason: 'another format is expected',
    expected: 'qcow2',
  });
});

it('refuses a chain that is too deep', () => {
  const claim = { fileName: 'base.qcow2', format: undefined };
  const deepest = Array.from({ length: chainDepthMax }, () => base);
  assert.equal(admitBacking(claim, deepest).below.length, chainDepthMax - 1);
  assert.deepEqual(refusal(claim, [...deepest, base]), { code: 'chain-too-deep', depth: 201, depthMax: 200 });
});
