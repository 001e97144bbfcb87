// A start that failed for a reason that a person can mend.

/** The message is made of sentences: what is wrong, and what to do. */
export class StartError extends Error {
  override readonly name = 'StartError';
}
