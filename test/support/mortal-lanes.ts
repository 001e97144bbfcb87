// A pool here whose lanes a test can kill at a message, as a thread that dies with its files open and half of its answers unsent.

import { inlineCodecs } from '../../src/pool/codecs.ts';
import type { Engine } from '../../src/pool/engine.ts';
import { connectHere } from '../../src/pool/inline-pool.ts';
import { LanePool } from '../../src/pool/lane-pool.ts';
import type { Connect } from '../../src/pool/lane.ts';
import type { RequestBody } from '../../src/pool/messages.ts';
import type { PoolSettings } from './pool-bench.ts';

/** When a lane dies: before it sees a message of a kind, or when it has done what that asks for and before it tells. */
export interface Death {
  readonly lane: number;
  readonly kind: RequestBody['kind'];
  readonly isDone: boolean;
}

export class MortalPool extends LanePool {
  readonly #deaths: Death[];

  constructor(settings: PoolSettings, options: { readonly engine: Engine; readonly lanes: number }) {
    const deaths: Death[] = [];
    const parts = { engine: options.engine, limits: settings.limits, clock: (): number => performance.now() };
    const connects = Array.from({ length: options.lanes }, (_, lane) => mortal(lane, parts, deaths));
    super({ ...settings, connects, codecs: inlineCodecs });
    this.#deaths = deaths;
  }

  /** The next such moment is the last one of its lane. */
  doom(death: Death): void {
    this.#deaths.push(death);
  }
}

function mortal(lane: number, parts: Parameters<typeof connectHere>[0], deaths: Death[]): Connect {
  return (events) => {
    let isDead = false;
    let lastWork: number | undefined;
    const die = (): void => {
      isDead = true;
      void inner.end();
      events.exit('killed by a test');
    };
    const inner = connectHere(parts, {
      ...events,
      receive: (answers) => {
        if (isDead) return;
        if (answers.some((answer) => answer.kind === 'result' && answer.id === lastWork)) die();
        else events.receive(answers);
      },
    });
    return {
      ...inner,
      send: (messages, transfer) => {
        if (isDead) return;
        const index = deaths.findIndex(
          (death) => death.lane === lane && messages.some(({ body }) => body.kind === death.kind),
        );
        const [death] = index < 0 ? [] : deaths.splice(index, 1);
        if (death?.isDone === true) lastWork = messages.find(({ body }) => body.kind === death.kind)?.id;
        if (death?.isDone === false) setImmediate(die);
        else inner.send(messages, transfer);
      },
    };
  };
}
