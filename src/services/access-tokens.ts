// Access tokens: who holds which, told by their SHA-256, so that no list of ours lets anybody in.

import { hash, timingSafeEqual } from 'node:crypto';

import type { Principal, Scope } from '../base/principal.ts';
import { scopes } from '../base/principal.ts';

/** A token as it is listed: never the token itself. */
interface ListedToken {
  readonly principal: Principal;
  readonly sha256: Buffer;
}

/** A list of tokens that cannot be used; the message is for a person. */
export class TokenListError extends Error {
  override readonly name = 'TokenListError';
}

export class AccessTokens {
  #listed: readonly ListedToken[];
  /** Tokens that were right before, so that using one again costs no hash: at most one for each line of the list. */
  readonly #known = new Map<string, Principal>();

  private constructor(listed: readonly ListedToken[]) {
    this.#listed = listed;
  }

  /**
   * Takes a list of lines `name:scope:sha256hex`; empty lines and lines that start with `#` say nothing.
   * Throws {@link TokenListError}.
   */
  static list(text: string): AccessTokens {
    return new AccessTokens(parseList(text));
  }

  /** One token that may do everything. */
  static single(name: string, token: string): AccessTokens {
    return new AccessTokens([{ principal: { name, scope: 'admin' }, sha256: digestOf(token) }]);
  }

  get count(): number {
    return this.#listed.length;
  }

  /** Takes another list; the old one stays when it cannot be used. Throws {@link TokenListError}. */
  replace(text: string): void {
    this.#listed = parseList(text);
    this.#known.clear();
  }

  /**
   * Who holds a token. A wrong one takes the same time whichever it is, and however much of it is right: only whole
   * tokens are found by their hash among those that were used before.
   */
  find(token: string): Principal | undefined {
    const known = this.#known.get(token);
    if (known !== undefined) return known;
    const digest = digestOf(token);
    let found: Principal | undefined;
    for (const { principal, sha256 } of this.#listed) {
      if (timingSafeEqual(digest, sha256)) found ??= principal;
    }
    if (found !== undefined) this.#known.set(token, found);
    return found;
  }
}

function digestOf(token: string): Buffer {
  return hash('sha256', token, 'buffer');
}

function parseList(text: string): readonly ListedToken[] {
  const lines = text.split('\n').map((line, index) => ({ line: line.trim(), number: index + 1 }));
  const listed = lines.filter(({ line }) => line !== '' && !line.startsWith('#')).map(parseLine);
  if (listed.length === 0) throw new TokenListError('it lists no token, so nobody could get in');
  return listed;
}

const linePattern = /^([A-Za-z0-9][A-Za-z0-9._-]{0,63}):([a-z]+):([0-9a-fA-F]{64})$/;

/** The line itself is not told: somebody may have put a token there. */
function parseLine({ line, number }: { readonly line: string; readonly number: number }): ListedToken {
  const [, name = '', scope = '', hex = ''] = linePattern.exec(line) ?? [];
  if (name === '') throw new TokenListError(`line ${number} is not name:scope:sha256 (64 hexadecimal digits)`);
  if (!isScope(scope)) throw new TokenListError(`line ${number}: the scope is none of ${scopes.join(', ')}`);
  return { principal: { name, scope }, sha256: Buffer.from(hex, 'hex') };
}

function isScope(text: string): text is Scope {
  return (scopes as readonly string[]).includes(text);
}
