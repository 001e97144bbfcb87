// Tables of variants that cost much: one run takes every second one.
//
//   GRID=all npm run test:qemu    each of them

const takesAll = process.env['GRID'] === 'all';

/** The usual choices of a table, or `all` of them with `GRID=all`. */
export function usually<Choice>(usual: readonly Choice[], all: readonly Choice[]): readonly Choice[] {
  return takesAll ? all : usual;
}

/** Every second row, the first included; all of them with `GRID=all`. */
export function everySecond<Row>(rows: readonly Row[]): readonly Row[] {
  return everySecondFrom(0, rows);
}

/** As {@link everySecond}, but beginning with the second row where `start` is odd; never none. */
export function everySecondFrom<Row>(start: number, rows: readonly Row[]): readonly Row[] {
  if (takesAll || rows.length === 1) return rows;
  return rows.filter((_, index) => index % 2 === start % 2);
}
