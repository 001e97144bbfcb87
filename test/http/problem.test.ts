import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { faultCodes } from '../../src/base/fault-codes.ts';
import type { FaultCode } from '../../src/base/fault-codes.ts';
import { Fault } from '../../src/base/fault.ts';
import { explainProblems, findProblem, printProblem, toProblem, wireCodeOf } from '../../src/http/problem.ts';

const request = { instance: '/v1/images/vm1/data', requestId: 'r1' };
const codes = Object.keys(faultCodes) as FaultCode[];

describe('a problem', () => {
  test('is made of every fault, and its body agrees with its status line', () => {
    for (const code of codes) {
      const { status, body } = toProblem(new Fault(code, {}), request);
      assert.equal(body.status, status, code);
      assert.ok(status >= 400 && status < 600, code);
      assert.equal(body.type, `/problems/${body.code}`);
      assert.ok(body.detail.length > 10 && body.title.length > 5, code);
      assert.ok(findProblem(body.code) !== undefined, code);
    }
  });

  test('is explained exactly when some fault becomes it', () => {
    const made = new Set(codes.map(wireCodeOf));
    assert.deepEqual(
      explainProblems()
        .map(({ code }) => code)
        .toSorted(),
      [...made].toSorted(),
    );
    for (const { cause, cure } of explainProblems()) assert.ok(cause.endsWith('.') && cure.endsWith('.'));
    assert.equal(findProblem('no-such-problem'), undefined);
    assert.equal(findProblem('toString'), undefined);
  });

  test('shows the members of its code and nothing else of the fault', () => {
    const { body, headers } = toProblem(new Fault('range-not-satisfiable', { size: 512, path: '/secret' }), request);
    assert.equal(body['size'], 512);
    assert.equal(body['path'], undefined);
    assert.equal(headers['content-range'], 'bytes */512');
  });

  test('of a broken image says where, and how to check it', () => {
    const { body } = toProblem(
      new Fault('l2-entry-invalid', { hostOffset: 65536, guestOffset: 0, file: 'x' }),
      request,
    );
    assert.equal(body.code, 'image-corrupt');
    assert.equal(body.status, 500);
    assert.equal(body['hostOffset'], 65536);
    assert.equal(body['guestOffset'], 0);
    assert.equal(body['checkHint'], 'POST /v1/images/vm1/check');
    assert.match(body.detail, /L2 entry/);
  });

  test('of a foreign file says what is wrong with it', () => {
    const violations = [{ code: 'encryption-unsupported' }, { code: 'backing-refused', fileName: 'base.img' }];
    const { body } = toProblem(new Fault('unsafe-image', { violations }), request);
    assert.deepEqual(body['violations'], violations);
    assert.match(
      body.detail,
      /^The image is encrypted in a way that is unknown here\. The image names a backing file .*: base\.img\. See /,
    );
  });

  test('of a damaged file says in words what a check finds', () => {
    const violations = [{ code: 'image-corrupt', corruptions: 3, checkErrors: 1 }];
    const { body } = toProblem(new Fault('unsafe-image', { violations }), request);
    assert.match(body.detail, /^A check finds 3 corruptions and 1 check errors\. See /);
  });

  test('says which images are in the way, and how much is too much', () => {
    const detailOf = (code: FaultCode, context: object): string =>
      toProblem(new Fault(code, { ...context }), request).body.detail;
    const dependents = [{ id: 'img_1', name: 'top' }];
    assert.match(detailOf('image-has-dependents', { name: 'base', dependents }), /^Built on base: top\. /);
    assert.match(detailOf('chain-too-deep', { depth: 65, depthMax: 64 }), /^The chain would have 65 images.* 64 /);
    assert.match(detailOf('passphrase-required', { isNew: true }), /^It is the new image, .* header\. /);
    assert.match(detailOf('job-not-cancellable', { state: 'cancelled' }), /^It ended as cancelled\. /);
    assert.match(detailOf('insufficient-storage', { required: 9, available: 5 }), /^9 bytes are needed, and 5 /);
    assert.match(detailOf('insufficient-storage', { written: 9 }), /^Delete images /);
  });

  test('of an error that nobody expected tells nothing of it', () => {
    const { status, body } = toProblem(new Error('/etc/passwd is broken'), request);
    assert.equal(status, 500);
    assert.equal(body.code, 'internal');
    assert.equal(body.requestId, 'r1');
    assert.doesNotMatch(JSON.stringify(body), /passwd/);
  });

  test('that will pass says when to try again', () => {
    assert.equal(toProblem(new Fault('engine-busy', {}), request).headers['retry-after'], '1');
    assert.equal(
      toProblem(new Fault('method-not-allowed', { allow: ['GET', 'PUT'] }), request).headers['allow'],
      'GET, PUT',
    );
  });

  test('is printed as JSON that ends with a newline', () => {
    const text = printProblem(toProblem(new Fault('draining', {}), request).body).toString();
    assert.ok(text.endsWith('}\n'));
    assert.equal((JSON.parse(text) as { code: string }).code, 'draining');
  });
});
