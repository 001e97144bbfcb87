// Which methods each path knows, so that a wrong method is told the right ones.

/** Collects routes and answers for concrete paths. */
export class KnownPaths {
  readonly #methods = new Map<string, Set<string>>();

  /** `pattern` as the router has it: `/v1/images/:image`. */
  add(pattern: string, methods: readonly string[]): void {
    const known = this.#methods.get(pattern) ?? new Set<string>();
    for (const method of methods) known.add(method);
    this.#methods.set(pattern, known);
  }

  /** The methods that a path knows, sorted; empty when it is no path of ours. */
  methodsOf(path: string): readonly string[] {
    const found = [...this.#methods].filter(([pattern]) => matches(pattern, path));
    return [...new Set(found.flatMap(([, methods]) => [...methods]))].toSorted();
  }
}

function matches(pattern: string, path: string): boolean {
  const [wanted, given] = [pattern.split('/'), path.split('/')];
  if (wanted.length !== given.length) return false;
  return wanted.every((part, index) => (part.startsWith(':') ? given[index] !== '' : part === given[index]));
}
