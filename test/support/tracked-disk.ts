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

export function sameContent(one: Content, other: Content): boolean {
  return one.length === other.length && one.every((value, cell) => value === other[cell]);
}
