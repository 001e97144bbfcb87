// A disk as the judge of concurrent requests sees it: one number a cell, and what each change does to it.

/** What the guest sees: one value a cell, 0 for zeroes. Its length is the size of the disk in cells. Never changed. */
export type Content = readonly number[];

/** Something that happens at one moment, to all its cells at once. */
export type Action =
  /** Values that nobody else writes, or zeroes. */
  | { readonly kind: 'write'; readonly from: number; readonly values: readonly number[] }
  /** The cell reads as zeroes afterwards if its whole cluster is given up: also when the disk ends in it, at `wholeAtEnd`. */
  | { readonly kind: 'discard'; readonly cell: number; readonly isWhole: boolean; readonly wholeAtEnd: number }
  | { readonly kind: 'resize'; readonly size: number }
  | { readonly kind: 'revert'; readonly content: Content }
  | { readonly kind: 'read'; readonly from: number; readonly values: readonly number[] }
  /** All of it is seen: by a snapshot. */
  | { readonly kind: 'see'; readonly content: Content }
  /** The map: the size, and cells of which it says that they read as zeroes. */
  | { readonly kind: 'map'; readonly size: number; readonly zeroes: readonly number[] }
  /** The disk was too small for something that ends at `to`. */
  | { readonly kind: 'too-small'; readonly to: number };

/** One thing that happened at one moment between two ticks. */
export interface Happening {
  readonly action: Action;
  readonly asked: number;
  /** `Infinity` when nobody knows whether it happened at all. */
  readonly answered: number;
  /** The request that it belongs to, for the report. */
  readonly what: string;
}

/** Whether it changes nothing. */
export function looksOnly({ kind }: Action): boolean {
  return kind === 'read' || kind === 'see' || kind === 'map' || kind === 'too-small';
}

/** The content after it; undefined when it cannot have happened to this content. */
export function applied(action: Action, content: Content): Content | undefined {
  switch (action.kind) {
    case 'write': {
      if (action.from + action.values.length > content.length) return undefined;
      return content.toSpliced(action.from, action.values.length, ...action.values);
    }
    case 'discard': {
      if (action.cell >= content.length) return content;
      const gone = action.isWhole || content.length === action.wholeAtEnd;
      return gone ? content.with(action.cell, 0) : content;
    }
    case 'resize':
      return Array.from({ length: action.size }, (_, cell) => content[cell] ?? 0);
    case 'revert':
      return action.content;
    case 'read':
      return action.values.every((value, index) => content[action.from + index] === value) ? content : undefined;
    case 'see':
      return sameContent(action.content, content) ? content : undefined;
    case 'map':
      if (action.size !== content.length) return undefined;
      return action.zeroes.every((cell) => content[cell] === 0) ? content : undefined;
    case 'too-small':
      return action.to > content.length ? content : undefined;
  }
}

/** What a look finds in each cell that it reads; nothing for what changes the disk. */
export function* demandsOf(action: Action): Generator<readonly [cell: number, value: number]> {
  switch (action.kind) {
    case 'read':
      for (const [index, value] of action.values.entries()) yield [action.from + index, value];
      return;
    case 'see':
      yield* action.content.entries();
      return;
    case 'map':
      for (const cell of action.zeroes) yield [cell, 0];
      return;
    case 'write':
    case 'discard':
    case 'resize':
    case 'revert':
    case 'too-small':
  }
}

/** Whether the cell may have this value because of it. */
export function brings(action: Action, cell: number, value: number): boolean {
  switch (action.kind) {
    case 'write':
      return action.values[cell - action.from] === value;
    case 'discard':
      return action.cell === cell && value === 0;
    case 'resize':
      return cell < action.size && value === 0;
    case 'revert':
      return action.content[cell] === value;
    case 'read':
    case 'see':
    case 'map':
    case 'too-small':
      return false;
  }
}

/** Whether a cell of this value may still have it afterwards. */
export function keeps(action: Action, cell: number, value: number): boolean {
  switch (action.kind) {
    case 'write':
      return (action.values[cell - action.from] ?? value) === value;
    case 'discard':
      return action.cell !== cell || value === 0 || !action.isWhole;
    case 'resize':
      return cell < action.size;
    case 'revert':
      return action.content[cell] === value;
    case 'read':
    case 'see':
    case 'map':
    case 'too-small':
      return true;
  }
}

export function sameContent(one: Content, other: Content): boolean {
  return one.length === other.length && one.every((value, cell) => value === other[cell]);
}
