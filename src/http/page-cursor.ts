// Where the next page of a list begins: text that only the same request, asked once more, understands.

import { hash } from 'node:crypto';

import type { Fault } from '../base/fault.ts';
import { invalidRequest } from './schema.ts';

/** The cursors of one list as one request asks for it. */
export interface PageCursors {
  /** `position` is what the list goes on after; undefined, at the end, gives null. */
  readonly print: (position: string | number | undefined) => string | null;
  /** The position of a cursor, or undefined without one. Faults `invalid-request` for a cursor of anything else. */
  readonly parse: (cursor: string | undefined) => string | undefined;
}

/**
 * `list` names the list, `filters` is what the request asks of it, but for its limit: a page of other filters would
 * leave items out without a word.
 */
export function pageCursors(list: string, filters: object): PageCursors {
  const mark = hash('sha256', JSON.stringify([list, filters]), 'buffer').subarray(0, markLength);
  const print = (position: string | number): string =>
    Buffer.concat([mark, Buffer.from(String(position))]).toString('base64url');
  return {
    print: (position) => (position === undefined ? null : print(position)),
    parse: (cursor) => {
      if (cursor === undefined) return undefined;
      const position = Buffer.from(cursor, 'base64url').subarray(markLength).toString();
      if (position === '' || print(position) !== cursor) throw badCursor('is no `nextCursor` of this list');
      return position;
    },
  };
}

/** The fault of a cursor that leads nowhere; `says` follows "the cursor". */
export function badCursor(says: string): Fault {
  return invalidRequest({
    pointer: '/cursor',
    in: 'query',
    message: `the cursor ${says}; repeat the request of the first page with it, or start again without one`,
  });
}

/** Bytes of the digest: enough to tell the lists of one client apart, short enough for a query. */
const markLength = 6;
