import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import fc from 'fast-check';

import { Fault } from '../../src/base/fault.ts';
import { parseContentRange, parseRange, printContentRange, resolveRange } from '../../src/http/byte-range.ts';

function resolve(header: string, size: number): readonly [number, number][] | undefined {
  const parts = parseRange(header);
  return parts && resolveRange(parts, size).map(({ offset, length }) => [offset, length]);
}

const unsatisfiable = (error: unknown): boolean =>
  error instanceof Fault && error.code === 'range-not-satisfiable' && error.context['size'] === 100;

describe('a Range header', () => {
  test('asks for one span, open or closed or from the end', () => {
    assert.deepEqual(resolve('bytes=0-9', 100), [[0, 10]]);
    assert.deepEqual(resolve('bytes=90-', 100), [[90, 10]]);
    assert.deepEqual(resolve('bytes=-5', 100), [[95, 5]]);
    assert.deepEqual(resolve('Bytes=0-0', 100), [[0, 1]]);
  });

  test('is clamped to the end', () => {
    assert.deepEqual(resolve('bytes=90-1000', 100), [[90, 10]]);
    assert.deepEqual(resolve('bytes=-1000', 100), [[0, 100]]);
    assert.deepEqual(resolve('bytes=0-99999999999999999999999', 100), [[0, 100]]);
  });

  test('beyond the end is not satisfiable', () => {
    for (const header of ['bytes=100-', 'bytes=100-200', 'bytes=-0', 'bytes=99999999999999999999-']) {
      assert.throws(() => resolve(header, 100), unsatisfiable, header);
    }
    assert.throws(() => resolve('bytes=0-', 0), Fault);
    assert.throws(() => resolve('bytes=-1', 0), Fault);
  });

  test('that is malformed is ignored', () => {
    for (const header of [
      'bytes=',
      'bytes=-',
      'bytes=9-1',
      'bytes=a-b',
      'lines=1-2',
      'bytes 1-2',
      'bytes=1-2-3',
      '0-1',
      'bytes=1-2,x',
    ]) {
      assert.equal(parseRange(header), undefined, header);
    }
    assert.equal(parseRange(undefined), undefined);
  });

  test('with several ranges keeps their order and joins those that touch', () => {
    assert.deepEqual(resolve('bytes=50-59, 0-9', 100), [
      [50, 10],
      [0, 10],
    ]);
    assert.deepEqual(resolve('bytes=0-9,10-19', 100), [[0, 20]]);
    assert.deepEqual(resolve('bytes=5-20,0-9,-1', 100), [
      [0, 21],
      [99, 1],
    ]);
    assert.deepEqual(resolve('bytes=0-0,200-300', 100), [[0, 1]]);
  });

  test('with more than 16 separate ranges is refused', () => {
    const ranges = (count: number): string =>
      `bytes=${Array.from({ length: count }, (_, index) => `${index * 2}-${index * 2}`).join(',')}`;
    assert.equal(resolve(ranges(16), 100)?.length, 16);
    assert.throws(() => resolve(ranges(17), 100), {
      code: 'range-not-satisfiable',
      context: { size: 100, ranges: 17, rangesMax: 16 },
    });
  });

  test('never leads outside and never overlaps', () => {
    const part = fc.oneof(
      fc.tuple(fc.nat(300), fc.nat(300)).map(([first, more]) => `${first}-${first + more}`),
      fc.nat(300).map((first) => `${first}-`),
      fc.nat(300).map((length) => `-${length}`),
    );
    fc.assert(
      fc.property(fc.array(part, { minLength: 1, maxLength: 12 }), fc.nat(250), (parts, size) => {
        const parsed = parseRange(`bytes=${parts.join(',')}`);
        assert.ok(parsed !== undefined);
        const covered = new Uint8Array(size);
        try {
          for (const { offset, length } of resolveRange(parsed, size)) {
            assert.ok(length > 0 && offset + length <= size);
            for (let at = offset; at < offset + length; at += 1) covered[at] = (covered[at] ?? 0) + 1;
          }
        } catch (error) {
          assert.ok(error instanceof Fault);
        }
        assert.ok(covered.every((count) => count <= 1));
      }),
    );
  });
});

describe('a Content-Range header', () => {
  test('says where a body belongs, and perhaps in how large an image', () => {
    assert.deepEqual(parseContentRange('bytes 0-9/*'), { span: { offset: 0, length: 10 }, size: undefined });
    assert.deepEqual(parseContentRange('bytes 5-5/100'), { span: { offset: 5, length: 1 }, size: 100 });
  });

  test('that is malformed is refused', () => {
    for (const header of [
      '',
      'bytes 0-9',
      'bytes 9-0/*',
      'bytes */10',
      'bytes 0-/*',
      'bytes 0-10/10',
      'bytes=0-9/*',
      'bytes 0-9007199254740992/*',
      'lines 0-1/2',
    ]) {
      assert.throws(
        () => parseContentRange(header),
        (error) => error instanceof Fault && error.code === 'invalid-content-range',
        header,
      );
    }
  });

  test('is printed with its last byte', () => {
    assert.equal(printContentRange({ offset: 10, length: 5 }, 100), 'bytes 10-14/100');
  });
});
