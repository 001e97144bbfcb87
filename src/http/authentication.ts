// Bearer tokens: who asks (401), and whether that one may (403).

import type { IncomingHttpHeaders } from 'node:http';

import type { FastifyRequest } from 'fastify';

import { Fault } from '../base/fault.ts';
import { anonymous, covers } from '../base/principal.ts';
import type { Principal, Scope } from '../base/principal.ts';
import type { App } from './schema.ts';

/** Knows who holds a token. */
export interface TokenFinder {
  find(token: string): Principal | undefined;
}

/** What an operation asks of whoever calls it; `free` asks nothing, not even a token. */
export type Demand = 'free' | Scope;

/** Makes room for the principal in every request. */
export function preparePrincipals(app: App): void {
  app.decorateRequest(decorator, null);
}

/** Who a request comes from. */
export function principalOf(request: FastifyRequest): Principal {
  return request.getDecorator<Principal | null>(decorator) ?? anonymous;
}

/** Finds out who asks; the fault `unauthenticated` when nobody does that we know. */
export function authenticate(request: FastifyRequest, tokens: TokenFinder): Fault | undefined {
  const found = whoAsks(request.headers, tokens);
  if (found instanceof Fault) return found;
  request.setDecorator(decorator, found);
  return undefined;
}

/** Who holds the token in these headers, or the fault `unauthenticated`. */
export function whoAsks({ authorization }: IncomingHttpHeaders, tokens: TokenFinder): Principal | Fault {
  if (authorization === undefined) return new Fault('unauthenticated', { given: 'nothing' });
  const token = bearerPattern.exec(authorization)?.[1];
  const principal = token === undefined ? undefined : tokens.find(token);
  return principal ?? new Fault('unauthenticated', { given: 'unknown' });
}

/** As {@link judgePrincipal}, of whoever the request comes from. */
export function judgeScope(request: FastifyRequest, demand: Demand): Fault | undefined {
  return judgePrincipal(principalOf(request), demand);
}

/** The fault `forbidden` of a principal whose scope is too small for what is asked. */
export function judgePrincipal({ name, scope }: Principal, demand: Demand): Fault | undefined {
  if (demand === 'free') return undefined;
  return covers(scope, demand) ? undefined : new Fault('forbidden', { token: name, scope, neededScope: demand });
}

const decorator = 'principal';
const bearerPattern = /^bearer +([A-Za-z0-9._~+/=-]{1,512}) *$/i;
