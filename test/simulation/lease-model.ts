// Whether a history of leases could have happened: a model of the contract, and a search for an order of what overlapped.
//
// Every operation must have taken effect at one moment between its begin and its end (Wing and Gong), such that one after
// the other they answer as the contract says. All orders that are still possible are carried along (`worlds`), event by
// event; when none is left, the history is wrong. Nothing here knows how the service does it.

import { isChange, leaseOf, printHistory } from './lease-history.ts';
import type { Ask, Claim, HistoryEvent, Operation } from './lease-history.ts';

interface Lease {
  readonly key: string;
  /** The operation that acquired it: until that is answered, what was let in before may still happen. */
  readonly by: number;
  readonly mode: 'exclusive' | 'shared';
  readonly ttlMs: number;
  /** It holds at least until then, and no longer than until then: uses that overlap leave the two apart. */
  readonly endsMin: number;
  readonly endsMax: number;
  readonly breakingMs: number | undefined;
}

/** A change that was let in and has not happened yet. */
interface Pending {
  readonly id: number;
  /** A lease was granted or taken away since: it must not happen after that was answered. */
  readonly stale: boolean;
}

interface World {
  readonly token: number;
  readonly leases: readonly Lease[];
  /** In the order in which they were let in; they happen in that order. */
  readonly pending: readonly Pending[];
  /** Operations under way that have taken effect. */
  readonly taken: readonly number[];
}

/** Undefined for a history that could have happened; otherwise what went wrong, with the events until then. */
export function judgeHistory(events: readonly HistoryEvent[]): string | undefined {
  const judge = new Judge(events);
  for (const [index, event] of events.entries()) {
    const wrong = judge.take(event);
    if (wrong !== undefined) return `${wrong}:\n${printHistory(events.slice(0, index + 1))}`;
  }
  return undefined;
}

class Judge {
  readonly #applied: ReadonlySet<number>;
  /** Changes of leases, by whom they may have overlapped: what they refuse as stale. */
  readonly #overlapping: ReadonlySet<number>;
  readonly #underWay = new Map<number, Operation>();
  #worlds: readonly World[] = [{ token: 0, leases: [], pending: [], taken: [] }];
  #now = 0;

  constructor(events: readonly HistoryEvent[]) {
    this.#applied = new Set(events.flatMap((event) => (event.kind === 'applied' ? [event.operation.id] : [])));
    this.#overlapping = overlappingLeaseChanges(events);
  }

  take(event: HistoryEvent): string | undefined {
    switch (event.kind) {
      case 'begin':
        this.#underWay.set(event.operation.id, event.operation);
        return undefined;
      case 'applied':
        return this.#apply(event.operation);
      case 'end':
        return this.#end(event.operation);
      case 'advance':
        this.#worlds = this.#reachable();
        this.#now += event.ms;
        return undefined;
      case 'restart':
        this.#restart();
        return undefined;
    }
  }

  #apply(operation: Operation): string | undefined {
    if (isRefusal(operation)) return 'a change that was refused has happened';
    const { id, ask } = operation;
    this.#worlds = unique(
      this.#reachable().flatMap((world) => {
        const [first, ...pending] = world.pending;
        if (first?.id !== id) return [];
        const own = leaseOf(ask);
        const grantedSince = ({ by }: Lease): boolean => first.stale && this.#underWay.has(by);
        const alone = this.#without({ ...world, pending }, (lease) => lease.key !== own && !grantedSince(lease));
        if (alone === undefined) return [];
        // Long work keeps its lease until its end.
        if (own === undefined || !isLong(ask)) return [alone];
        return hasLease(alone, own) ? [this.#touched(alone, own)] : [];
      }),
    );
    return this.#worlds.length > 0 ? undefined : 'a change has happened that no live lease allows';
  }

  #end(operation: Operation): string | undefined {
    const { id, ask, outcome } = operation;
    const endsLeases = ask.kind === 'acquire' || ask.kind === 'release' || ask.kind === 'break';
    const worlds = this.#reachable().flatMap((world) => {
      if (outcome.kind !== 'unknown' && !world.taken.includes(id)) return [];
      if (endsLeases && outcome.kind !== 'unknown' && world.pending.some(({ stale }) => stale)) return [];
      const taken = world.taken.filter((one) => one !== id);
      return [this.#mayHaveTouched({ ...world, taken }, leaseOf(ask))];
    });
    this.#underWay.delete(id);
    if (worlds.length === 0) return 'no order of what overlaps explains this answer';
    if (operation.outcome.kind === 'ok' && happens(ask) && !this.#applied.has(id)) return 'a change was lost';
    this.#worlds = unique(worlds);
    return undefined;
  }

  /** What was under way is over; every lease has one full period, or what its break leaves it. */
  #restart(): void {
    const worlds = this.#reachable().flatMap((world) => this.#endings(world));
    this.#underWay.clear();
    const renewed = (lease: Lease): Lease => {
      const ends = this.#now + Math.min(lease.ttlMs, lease.breakingMs ?? lease.ttlMs);
      return { ...lease, endsMin: ends, endsMax: ends };
    };
    this.#worlds = unique(
      worlds.map(({ token, leases }) => ({ token, leases: leases.map(renewed), pending: [], taken: [] })),
    );
  }

  /** A lease whose time was over may have been found out, or not. */
  #endings(world: World): readonly World[] {
    const over = world.leases.filter((lease) => this.#mayBeOver(world, lease));
    return over.reduce<readonly World[]>(
      (worlds, lease) => [
        ...worlds,
        ...worlds.map((one) => ({ ...one, leases: one.leases.filter((other) => other !== lease) })),
      ],
      [world],
    );
  }

  /** All worlds in which any of what is under way has taken effect, in any order. */
  #reachable(): readonly World[] {
    const found = new Map(this.#worlds.map((world) => [JSON.stringify(world), world]));
    const queue = [...found.values()];
    for (let world = queue.pop(); world !== undefined; world = queue.pop()) {
      for (const operation of this.#underWay.values()) {
        if (world.taken.includes(operation.id)) continue;
        const taken = [...world.taken, operation.id].toSorted((one, other) => one - other);
        for (const next of this.#effects(world, operation)) {
          const reached = { ...next, taken };
          const key = JSON.stringify(reached);
          if (found.has(key)) continue;
          found.set(key, reached);
          queue.push(reached);
        }
      }
    }
    return [...found.values()];
  }

  /** The worlds in which the operation takes effect now, with the answer that it got. */
  #effects(world: World, operation: Operation): readonly World[] {
    const { ask } = operation;
    switch (ask.kind) {
      case 'acquire':
        return this.#acquire(world, operation, ask);
      case 'renew':
        return this.#renew(world, operation, ask.lease);
      case 'release':
        return this.#endLeases(world, ({ key }) => key === ask.lease);
      case 'break': {
        const { graceMs } = ask;
        if (graceMs === 0) return this.#endLeases(world, () => true);
        const live = world.leases.filter((lease) => this.#isLive(lease));
        return [{ ...world, leases: live.map((lease) => this.#broken(lease, graceMs)) }];
      }
      case 'use':
        return this.#use(world, operation, ask);
    }
  }

  #acquire(world: World, { id, outcome }: Operation, ask: Extract<Ask, { kind: 'acquire' }>): readonly World[] {
    const { mode, ttlMs } = ask;
    const blocks = (lease: Lease): boolean => mode === 'exclusive' || lease.mode === 'exclusive';
    if (outcome.kind === 'locked') return this.#someLive(world, blocks) ? [world] : [];
    const alone = this.#without(world, blocks);
    if (alone === undefined) return [];
    const token = world.token + (mode === 'exclusive' ? 1 : 0);
    if (outcome.kind === 'granted' && outcome.token !== token) return [];
    const key = outcome.kind === 'granted' ? outcome.lease : `nobody's ${String(id)}`;
    const ends = this.#now + ttlMs;
    const lease: Lease = { key, by: id, mode, ttlMs, endsMin: ends, endsMax: ends, breakingMs: undefined };
    const granted = { ...staled(alone), token, leases: byKey([...alone.leases, lease]) };
    if (outcome.kind === 'granted') return [granted];
    // It may be held by nobody who knows, or have been taken back; then only its token is gone.
    return outcome.kind === 'unknown' ? [granted, { ...alone, token }] : [];
  }

  #renew(world: World, { outcome }: Operation, key: string): readonly World[] {
    const lease = world.leases.find((one) => one.key === key);
    if (outcome.kind === 'lost' && lease?.breakingMs !== undefined) return [world];
    if (outcome.kind === 'lost') return present(this.#without(world, (one) => one.key === key));
    if (outcome.kind === 'unknown') return [world];
    if (outcome.kind !== 'ok' || lease === undefined || lease.breakingMs !== undefined) return [];
    return this.#isLive(lease) ? [this.#touched(world, key)] : [];
  }

  #use(world: World, operation: Operation, ask: Extract<Ask, { kind: 'use' }>): readonly World[] {
    const { id, outcome } = operation;
    const { claim } = ask;
    const ahead = (claim.token ?? 0) > world.token;
    if (outcome.kind === 'no-such-token') return ahead ? [world] : [];
    if (ahead) return [];
    if (outcome.kind === 'lost') return this.#lost(world, claim);
    const own = world.leases.find(({ key }) => key === claim.lease);
    const holds = claim.lease === undefined || (own !== undefined && this.#isLive(own));
    const blocks = (lease: Lease): boolean => isChange(ask) && (lease.mode === 'shared' || lease !== own);
    if (outcome.kind === 'locked') return holds && this.#someLive(world, blocks) ? [world] : [];
    const old = claim.token !== undefined && claim.token < world.token;
    if (outcome.kind === 'stale') return old || this.#overlapping.has(id) ? [world] : [];
    if (outcome.kind === 'unknown' && !this.#applied.has(id)) return [world];
    if (old || !holds) return [];
    const alone = this.#without(world, blocks);
    if (alone === undefined) return [];
    const touched = claim.lease === undefined ? alone : this.#touched(alone, claim.lease);
    if (!happens(ask) || !this.#applied.has(id)) return [touched];
    return [{ ...touched, pending: [...touched.pending, { id, stale: false }] }];
  }

  #lost(world: World, { lease }: Claim): readonly World[] {
    return lease === undefined ? [] : present(this.#without(world, ({ key }) => key === lease));
  }

  #endLeases(world: World, ends: (lease: Lease) => boolean): readonly World[] {
    if (!world.leases.some(ends)) return [world];
    return [{ ...staled(world), leases: world.leases.filter((lease) => !ends(lease)) }];
  }

  /** The world in which none of these leases holds any more; undefined when one must. */
  #without(world: World, which: (lease: Lease) => boolean): World | undefined {
    const chosen = world.leases.filter(which);
    if (chosen.length === 0) return world;
    if (!chosen.every((lease) => this.#mayBeOver(world, lease))) return undefined;
    return { ...world, leases: world.leases.filter((lease) => !chosen.includes(lease)) };
  }

  #mayBeOver(world: World, { key, endsMin, breakingMs }: Lease): boolean {
    if (this.#now < endsMin) return false;
    // Long work that was let in keeps its lease, unless it is being broken.
    const works = world.pending.some(({ id }) => {
      const operation = this.#underWay.get(id);
      return operation?.outcome.kind === 'ok' && isLong(operation.ask) && leaseOf(operation.ask) === key;
    });
    return breakingMs !== undefined || !works;
  }

  #someLive(world: World, which: (lease: Lease) => boolean): boolean {
    return world.leases.some((lease) => which(lease) && this.#isLive(lease));
  }

  /** Whether it may still hold: whatever is under way with it may use it, and so renew it, at any moment. */
  #isLive({ key, endsMax, breakingMs }: Lease): boolean {
    if (this.#now < endsMax) return true;
    return breakingMs === undefined && [...this.#underWay.values()].some(({ ask }) => leaseOf(ask) === key);
  }

  #touched(world: World, key: string): World {
    return this.#renewed(world, key, (lease, ends) => Math.max(lease.endsMin, ends));
  }

  #mayHaveTouched(world: World, key: string | undefined): World {
    return key === undefined ? world : this.#renewed(world, key, (lease) => lease.endsMin);
  }

  #renewed(world: World, key: string, endsMinOf: (lease: Lease, ends: number) => number): World {
    const leases = world.leases.map((lease) => {
      if (lease.key !== key || lease.breakingMs !== undefined) return lease;
      const ends = this.#now + lease.ttlMs;
      return { ...lease, endsMin: endsMinOf(lease, ends), endsMax: Math.max(lease.endsMax, ends) };
    });
    return { ...world, leases };
  }

  #broken(lease: Lease, graceMs: number): Lease {
    const ends = this.#now + graceMs;
    return {
      ...lease,
      // What used it a moment before may have renewed it, so only the grace is sure to be its end.
      endsMin: Math.min(lease.endsMin, ends),
      endsMax: ends,
      breakingMs: Math.min(lease.breakingMs ?? graceMs, graceMs),
    };
  }
}

/** Whether it is seen to happen to the bytes of the image. */
function happens(ask: Ask): boolean {
  return ask.kind === 'use' && (ask.how === 'write' || ask.how === 'snapshot');
}

function isLong(ask: Ask): boolean {
  return ask.kind === 'use' && ask.how === 'snapshot';
}

function isRefusal({ outcome }: Operation): boolean {
  return outcome.kind !== 'ok' && outcome.kind !== 'unknown';
}

function hasLease(world: World, key: string): boolean {
  return world.leases.some((lease) => lease.key === key);
}

function staled(world: World): World {
  return { ...world, pending: world.pending.map(({ id }) => ({ id, stale: true })) };
}

function byKey(leases: readonly Lease[]): readonly Lease[] {
  return leases.toSorted((one, other) => (one.key < other.key ? -1 : 1));
}

function present(world: World | undefined): readonly World[] {
  return world === undefined ? [] : [world];
}

function unique(worlds: readonly World[]): readonly World[] {
  return [...new Map(worlds.map((world) => [JSON.stringify(world), world])).values()];
}

/** Uses during which leases may have begun or ended: they may be refused as stale although their token is not old. */
function overlappingLeaseChanges(events: readonly HistoryEvent[]): ReadonlySet<number> {
  const found = new Set<number>();
  const open = new Map<number, Operation>();
  for (const event of events) {
    if (event.kind === 'restart') open.clear();
    const lively = event.kind === 'begin' && event.operation.ask.kind !== 'use';
    if (event.kind === 'begin') {
      const others = [...open.values()].some(({ ask }) => ask.kind !== 'use' && ask.kind !== 'renew');
      if (others) found.add(event.operation.id);
      open.set(event.operation.id, event.operation);
    }
    if (event.kind === 'advance' || lively) for (const id of open.keys()) found.add(id);
    if (event.kind === 'end') open.delete(event.operation.id);
  }
  return found;
}
