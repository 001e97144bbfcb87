// What clients of one leased image asked, what they were told, and when changes really happened.

export type Claim = { readonly lease?: string; readonly token?: number };

/** What a client asks for. Leases are named by whatever is unique. */
export type Ask =
  | { readonly kind: 'acquire'; readonly mode: 'exclusive' | 'shared'; readonly ttlMs: number }
  | { readonly kind: 'renew' | 'release'; readonly lease: string }
  | { readonly kind: 'break'; readonly graceMs: number }
  /** `edit` changes what is said of the image, and so never happens to its bytes; `check` only reads, as a long work. */
  | { readonly kind: 'use'; readonly how: 'write' | 'snapshot' | 'edit' | 'read' | 'check'; readonly claim: Claim };

/** What it was told. `unknown`: nothing, or nothing that says whether it was done. */
export type Outcome =
  | { readonly kind: 'ok' }
  | { readonly kind: 'granted'; readonly lease: string; readonly token: number }
  | { readonly kind: 'locked' | 'lost' | 'stale' | 'no-such-token' }
  | { readonly kind: 'unknown' };

export interface Operation {
  readonly id: number;
  readonly client: number;
  readonly ask: Ask;
  outcome: Outcome;
}

/** In the order in which it happened. `restart` ends the process, with all that it had not answered yet. */
export type HistoryEvent =
  | { readonly kind: 'begin' | 'applied' | 'end'; readonly operation: Operation }
  | { readonly kind: 'advance'; readonly ms: number }
  | { readonly kind: 'restart'; readonly how: 'stopped' | 'killed' };

export function isChange(ask: Ask): boolean {
  return ask.kind === 'use' && ask.how !== 'read' && ask.how !== 'check';
}

/** The lease that an operation uses, and so keeps from ending. */
export function leaseOf(ask: Ask): string | undefined {
  if (ask.kind === 'renew') return ask.lease;
  return ask.kind === 'use' ? ask.claim.lease : undefined;
}

export function printHistory(events: readonly HistoryEvent[]): string {
  return events.map(printEvent).join('\n');
}

function printEvent(event: HistoryEvent): string {
  if (event.kind === 'advance') return `        ... ${String(event.ms)} ms`;
  if (event.kind === 'restart') return `        === ${event.how}`;
  const { id, client, ask, outcome } = event.operation;
  const told = event.kind === 'end' ? ` -> ${JSON.stringify(outcome)}` : '';
  return `c${String(client)} #${String(id)} ${event.kind} ${JSON.stringify(ask)}${told}`;
}
