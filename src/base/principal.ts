// Who asks, and how far that one may go.

/** `read` looks, `write` also changes, `admin` also does what harms others. Each covers those before it. */
export const scopes = ['read', 'write', 'admin'] as const;

export type Scope = (typeof scopes)[number];

/** Whoever a request comes from. */
export interface Principal {
  readonly name: string;
  readonly scope: Scope;
}

/** Everybody, where there are no tokens: only this machine gets that far. */
export const anonymous: Principal = Object.freeze({ name: 'anonymous', scope: 'admin' });

export function covers(held: Scope, wanted: Scope): boolean {
  return scopes.indexOf(held) >= scopes.indexOf(wanted);
}
