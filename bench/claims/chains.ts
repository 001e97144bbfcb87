// Long work on an overlay over HTTP, durable, beside qemu-img doing the same to the same files, and `sync`.

import { MiB } from '../../src/base/units.ts';
import type { Claim, Comparison } from '../claim.ts';
import { overlaidLength, Overlays } from '../overlays.ts';
import type { OverlayContent } from '../overlays.ts';
import { inTurns } from '../rounds.ts';
import type { Bench } from '../workplace.ts';

/** One kind of work; the goal is the same for all. */
interface ChainWork {
  readonly title: string;
  readonly content: OverlayContent;
  readonly ours: { readonly path: string; readonly body: unknown };
  readonly theirs: (overlays: Overlays) => { readonly words: readonly string[]; readonly changes: 'overlay' | 'base' };
}

const flattening: Pick<ChainWork, 'ours' | 'theirs'> = {
  ours: { path: 'flatten', body: undefined },
  theirs: () => ({ words: ['rebase', '-q', '-f', 'qcow2', '-b', ''], changes: 'overlay' }),
};

export const flatten: Claim = claimOf('flatten', [
  { title: 'flatten a bare overlay', content: 'nothing', ...flattening },
  { title: 'flatten an overlay that holds every second cluster', content: 'every second cluster', ...flattening },
]);

export const commit: Claim = claimOf('commit', [
  {
    title: 'commit every second cluster',
    content: 'every second cluster',
    ours: { path: 'commit', body: undefined },
    theirs: () => ({ words: ['commit', '-q', '-f', 'qcow2'], changes: 'base' }),
  },
]);

export const rebase: Claim = claimOf('rebase', [
  {
    title: 'rebase onto a base that differs in every fourth MiB',
    content: 'every second cluster',
    ours: { path: 'rebase', body: { backing: { image: 'other' }, mode: 'safe' } },
    theirs: ({ otherPath }) => ({
      words: ['rebase', '-q', '-f', 'qcow2', '-F', 'qcow2', '-b', otherPath],
      changes: 'overlay',
    }),
  },
]);

function claimOf(name: string, works: readonly ChainWork[]): Claim {
  return {
    name,
    measure: async function* measure(bench) {
      for (const place of ['memory', 'disk'] as const) {
        const overlays = await Overlays.make(bench[place]);
        for (const work of works) yield await compare(bench, { overlays, work, place });
      }
    },
  };
}

async function compare(
  { options }: Bench,
  {
    overlays,
    work,
    place,
  }: { readonly overlays: Overlays; readonly work: ChainWork; readonly place: 'memory' | 'disk' },
): Promise<Comparison> {
  const theirs = work.theirs(overlays);
  const command = `qemu-img ${theirs.words.map((word) => (word === '' ? '""' : word)).join(' ')} FILE`;
  const speed = (seconds: number): number => overlaidLength / MiB / seconds;
  return {
    name: `${work.title}, ${place === 'memory' ? 'in memory' : 'on disk'}; qemu-img ${theirs.words[0] ?? ''} and sync`,
    peer: `${command} && sync ${theirs.changes === 'base' ? 'BASE' : 'FILE'}`,
    unit: 'MiB/s',
    better: 'more',
    goal: 1,
    ...(await inTurns(
      {
        ours: async () => speed(await overlays.ours(work.content, work.ours)),
        theirs: async () => speed(overlays.theirs(work.content, theirs)),
      },
      { rounds: options.rounds, warmUp: true },
    )),
  };
}
