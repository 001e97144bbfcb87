// Assertions: what must be true if our own code is right. A broken one is a bug, never an expected failure.

/** Thrown by {@link assert}; never caught to carry on. */
export class BrokenAssertion extends Error {
  override readonly name = 'BrokenAssertion';
}

/** Throws a {@link BrokenAssertion} unless `condition` holds. Say one thing, in positive words. */
export function assert(condition: boolean, promise: string): asserts condition {
  if (!condition) throw new BrokenAssertion(`broken assertion: ${promise}`);
}

/** Asserts that a value is there and returns it. */
export function present<Value>(value: Value | undefined | null, promise: string): Value {
  if (value === undefined || value === null) throw new BrokenAssertion(`broken assertion: ${promise}`);
  return value;
}

/** The end of a closed switch: a new case fails to compile here. */
export function unreachable(value: never): never {
  throw new BrokenAssertion(`broken assertion: no such case: ${JSON.stringify(value)}`);
}
