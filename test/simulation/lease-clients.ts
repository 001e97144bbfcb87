// Clients of one leased image, driven by chance: they claim it, use it, sleep too long, and come with what is over.

import { setImmediate as turn } from 'node:timers/promises';

import { Fault } from '../../src/base/fault.ts';
import type { FaultCode } from '../../src/base/fault-codes.ts';
import type { LeaseClaim, Services, WorkControl } from '../../src/services/services.ts';
import { bodyIn, newImage, plainWrite } from '../support/service-house.ts';
import type { Prng } from '../support/prng.ts';
import type { ImageWatch } from './lease-engine.ts';
import { numberLength } from './lease-engine.ts';
import type { Ask, Claim, HistoryEvent, Operation, Outcome } from './lease-history.ts';

interface Client {
  readonly number: number;
  busy: boolean;
  /** Leases that it was granted, the last one first; it forgets none, and tries old ones again. */
  readonly grants: { readonly lease: string; readonly token: number }[];
}

const clientCount = 4;
const clusterLength = 65_536;
const clusterCount = 4;
const ttls = [5_000, 8_000, 20_000] as const;
const graces = [0, 0, 2_000, 6_000] as const;

/** One image with its clients, over several lives of the service. */
export class LeasedImage {
  readonly id: string;
  readonly events: HistoryEvent[] = [];
  #held = false;
  readonly #prng: Prng;
  readonly #operations = new Map<number, Operation>();
  readonly #clients: readonly Client[] = Array.from({ length: clientCount }, (_, number) => ({
    number,
    busy: false,
    grants: [],
  }));
  #services: Services;
  /** Of this life of the service. */
  #life = 0;

  private constructor(services: Services, { id, prng }: { readonly id: string; readonly prng: Prng }) {
    this.#services = services;
    this.id = id;
    this.#prng = prng;
  }

  static async make(
    services: Services,
    { name, prng }: { readonly name: string; readonly prng: Prng },
  ): Promise<LeasedImage> {
    const virtualSize = clusterCount * clusterLength;
    const { id } = await services.images.create(newImage({ name, virtualSize, clusterSize: clusterLength }));
    return new LeasedImage(services, { id, prng });
  }

  /** What this life of the service does to the image; of what comes after its end nothing is left. */
  watch(): ImageWatch {
    const life = this.#life;
    return {
      isHeld: () => life === this.#life && this.#held,
      applied: (number) => {
        if (life !== this.#life) return;
        const operation = this.#operations.get(number);
        if (operation === undefined) throw new Error(`nobody has asked for change ${String(number)}`);
        this.events.push({ kind: 'applied', operation });
      },
    };
  }

  advance(ms: number): void {
    this.events.push({ kind: 'advance', ms });
  }

  /** Some client does something, most of the time. */
  step(): void {
    if (this.#prng.chance(15)) this.#held = !this.#held;
    for (const client of this.#clients) {
      if (!client.busy && this.#prng.chance(35)) this.#begin(client, this.#choose(client));
    }
  }

  /** The process is gone: whatever it still answers, nobody hears. */
  restart(how: 'stopped' | 'killed'): void {
    this.events.push({ kind: 'restart', how });
    this.#life += 1;
    this.#operations.clear();
    for (const client of this.#clients) client.busy = false;
  }

  goOn(services: Services): void {
    this.#services = services;
  }

  async untilIdle(): Promise<void> {
    this.#held = false;
    while (this.#clients.some(({ busy }) => busy)) await turn();
  }

  #begin(client: Client, ask: Ask): void {
    const life = this.#life;
    nextNumber += 1;
    const operation: Operation = { id: nextNumber, client: client.number, ask, outcome: { kind: 'unknown' } };
    this.#operations.set(operation.id, operation);
    client.busy = true;
    this.events.push({ kind: 'begin', operation });
    void perform(this.#services, this.id, operation).then((outcome) => {
      if (life !== this.#life) return;
      operation.outcome = outcome;
      client.busy = false;
      this.events.push({ kind: 'end', operation });
      if (outcome.kind === 'granted') client.grants.unshift({ lease: outcome.lease, token: outcome.token });
    });
  }

  #choose(client: Client): Ask {
    const prng = this.#prng;
    const draw = prng.below(100);
    const [last] = client.grants;
    const grant = last === undefined || prng.chance(75) ? last : prng.pick(client.grants);
    if (draw < 30) return { kind: 'acquire', mode: prng.chance(80) ? 'exclusive' : 'shared', ttlMs: prng.pick(ttls) };
    if (draw < 33) return { kind: 'break', graceMs: prng.pick(graces) };
    if (grant !== undefined && draw < 42) return { kind: 'renew', lease: grant.lease };
    if (grant !== undefined && draw < 50) return { kind: 'release', lease: grant.lease };
    const hows = ['write', 'write', 'write', 'write', 'write', 'snapshot', 'edit', 'read', 'check'] as const;
    return { kind: 'use', how: prng.pick(hows), claim: this.#claim(grant) };
  }

  #claim(grant: { readonly lease: string; readonly token: number } | undefined): Claim {
    const prng = this.#prng;
    if (grant === undefined || prng.chance(15)) return prng.chance(90) ? {} : { token: prng.below(4) };
    const { lease, token } = grant;
    const draw = prng.below(100);
    if (draw < 55) return { lease, token };
    if (draw < 75) return { lease };
    if (draw < 90) return { token };
    return { lease, token: Math.max(token - 1 + prng.below(4), 0) };
  }
}

/** Over all histories: numbers stand in the bytes of the images, which outlive the service. */
let nextNumber = 0;

async function perform(services: Services, image: string, { id, ask }: Operation): Promise<Outcome> {
  try {
    switch (ask.kind) {
      case 'acquire': {
        const lease = await services.leases.acquire(image, {
          mode: ask.mode,
          ttlMs: ask.ttlMs,
          owner: undefined,
          key: undefined,
        });
        return { kind: 'granted', lease: lease.id, token: lease.fencingToken };
      }
      case 'renew':
        await services.leases.renew(image, ask.lease);
        return { kind: 'ok' };
      case 'release':
        await services.leases.release(image, ask.lease);
        return { kind: 'ok' };
      case 'break':
        await services.leases.break(image, { graceMs: ask.graceMs });
        return { kind: 'ok' };
      case 'use':
        await use(services, image, { id, how: ask.how, claim: toClaim(ask.claim) });
        return { kind: 'ok' };
    }
  } catch (error) {
    if (error instanceof Fault) return outcomes[error.code] ?? { kind: 'unknown' };
    throw error;
  }
}

const outcomes: Partial<Record<FaultCode, Outcome>> = {
  'image-locked': { kind: 'locked' },
  'lease-lost': { kind: 'lost' },
  'fencing-token-stale': { kind: 'stale' },
  'invalid-request': { kind: 'no-such-token' },
};

function toClaim({ lease, token }: Claim): LeaseClaim | undefined {
  return lease === undefined && token === undefined ? undefined : { leaseId: lease, fencingToken: token };
}

async function use(
  services: Services,
  image: string,
  { id, how, claim }: { readonly id: number; readonly how: string; readonly claim: LeaseClaim | undefined },
): Promise<void> {
  switch (how) {
    case 'write': {
      using session = await services.content.openWrite(image, { signal: undefined, claim });
      const bytes = Buffer.alloc(512);
      bytes.writeUInt32LE(id, 0);
      const options = { ...plainWrite, bodyLength: 512, flush: false };
      const offset = (id % clusterCount) * clusterLength;
      await session.write({ offset, length: bytes.length }, bodyIn(bytes, bytes.length), options);
      return;
    }
    case 'snapshot':
      await services.snapshots.create(image, { name: `s${String(id)}` }, controlWith(claim));
      return;
    case 'edit':
      await services.images.update(image, { description: String(id) }, { judge: () => undefined, claim });
      return;
    case 'check':
      await services.images.check(image, { repair: 'none' }, controlWith(claim));
      return;
    default: {
      using session = await services.content.openRead(image, { snapshot: undefined, signal: undefined, claim });
      await session.read({ offset: 0, length: numberLength });
    }
  }
}

function controlWith(claim: LeaseClaim | undefined): WorkControl {
  return {
    signal: new AbortController().signal,
    accepted: () => false,
    claim,
    key: undefined,
    onProgress: () => undefined,
    admitted: () => undefined,
    started: () => undefined,
    note: async () => undefined,
  };
}
