// Crashes at every moment of making and removing bitmaps: the header keeps its other words, and names all bitmaps or none.

import { MemoryFile } from '../../src/engine/file/memory-file.ts';
import { TrackedFile } from '../../src/engine/file/tracked-file.ts';
import { encodeExtensions } from '../../src/engine/format/header-extensions.ts';
import { encodeHeader } from '../../src/engine/format/header.ts';
import { guestOffset, hostOffset } from '../../src/engine/format/offsets.ts';
import type { Image } from '../../src/engine/image.ts';
import { HeaderArea } from '../../src/engine/metadata/header-area.ts';
import { createImage } from '../../src/engine/operations/create.ts';
import { runToEnd } from '../../src/engine/operations/steps.ts';
import { Prng } from '../support/prng.ts';
import { contentOf, judgeReport, openOver } from './crash-judge.ts';
import { CrashTrials } from './crash-trials.ts';
import type { TrialOptions, TrialRecord } from './crash-trials.ts';
import { plainSpec } from '../support/plain-spec.ts';

/** The names that a crash may leave, each list as one text. */
type Lists = readonly string[];

interface Layout {
  readonly clusterSize: number;
  readonly backingName: string | undefined;
  /** Where the data of the bitmaps extension comes to lie over the end of a sector, the bitmaps may be lost. */
  readonly straddles: boolean;
  /** A stale extension of bitmaps stands before a foreign one: its place is taken, and kept. */
  readonly isStale: boolean;
}

/** Makes and removes bitmaps in the image of a seed. */
export function liveBitmapSwitch(seed: number, options: TrialOptions): TrialRecord {
  const chance = new Prng(seed);
  const layout = layoutOf(seed, chance);
  const start = startOf(layout, chance);
  const backing = layout.backingName === undefined ? undefined : new Prng(seed + 1).bytes(20 * 512);
  const first = openOver(start.fork(), backing);
  const content = contentOf(first);
  first.abandon();
  let lists: Lists = [''];
  let steps = 0;
  const trials: CrashTrials<Lists> = new CrashTrials<Lists>(start, {
    options,
    chance: new Prng(seed + 2),
    promised: () => lists,
    strength: () => steps,
    during: () => `bitmap verb ${String(steps)} of ${JSON.stringify(layout)}`,
    judge: (file, possible) => judge(file, { layout, backing, content, possible }),
  });
  const image = openOver(trials.file, backing);
  const act = (names: readonly string[], work: (over: Image) => void): void => {
    const before = lists[0] ?? '';
    const after = names.join();
    steps += 1;
    lists = layout.straddles ? [before, after, ''] : [before, after];
    work(image);
    lists = [after];
    steps += 1;
    trials.mark();
  };
  const create = (name: string) => (over: Image) => over.createBitmap({ name, granularity: 512, enabled: false });
  act(['a'], create('a'));
  act(['a', 'b'], create('b'));
  act(['b'], (over) => {
    over.deleteBitmap('a');
  });
  act([], (over) => {
    over.deleteBitmap('b');
  });
  act(['c'], create('c'));
  trials.judgeEpoch();
  image.abandon();
  return trials.record;
}

function layoutOf(seed: number, chance: Prng): Layout {
  const clusterSize = [512, 1_024, 4_096, 65_536][seed % 4] ?? 512;
  const hasBacking = chance.chance(clusterSize === 4_096 ? 20 : 60);
  const straddles = !hasBacking && clusterSize === 4_096;
  return {
    clusterSize,
    backingName: hasBacking ? 'b'.repeat(1 + chance.below(clusterSize === 512 ? 60 : 300)) : undefined,
    straddles,
    isStale: !straddles && chance.chance(30),
  };
}

/** An image whose first cluster has foreign extensions, and old bytes behind them. */
function startOf(layout: Layout, chance: Prng): MemoryFile {
  const file = MemoryFile.empty();
  const { clusterSize, backingName } = layout;
  runToEnd(
    createImage(file, {
      ...plainSpec,
      virtualSize: 20 * 512,
      clusterSize,
      backing: backingName === undefined ? undefined : { fileName: backingName, format: 'raw' },
    }),
  );
  const area = HeaderArea.read(new TrackedFile(file), { forCheck: false });
  const length = layout.straddles ? 480 - area.header.length : 8;
  const foreign = { type: 0x1234_5678, data: chance.bytes(length) };
  const stale = { count: 0, reserved: 7, directoryLength: 0, directoryOffset: hostOffset(1) };
  const extensions = {
    ...area.extensions,
    bitmaps: layout.isStale ? stale : undefined,
    unknown: [foreign],
  };
  const bytes = encodeExtensions(extensions, { named: false });
  const nameAt = area.header.length + bytes.length;
  const name = Buffer.from(backingName ?? '');
  const whole = chance.bytes(clusterSize);
  whole.set(encodeHeader({ ...area.header, backingNameOffset: backingName === undefined ? 0 : nameAt }));
  whole.set(bytes, area.header.length);
  whole.set(name, nameAt);
  file.writeAt(hostOffset(0), whole);
  file.flush();
  return file;
}

function judge(
  file: MemoryFile,
  made: {
    readonly layout: Layout;
    readonly backing: Uint8Array | undefined;
    readonly content: Uint8Array;
    readonly possible: Lists;
  },
): string | undefined {
  try {
    const area = HeaderArea.read(new TrackedFile(file), { forCheck: false });
    if (area.backingName !== made.layout.backingName) return `the backing name is ${String(area.backingName)}`;
    if (area.extensions.unknown.length !== 1) return 'the foreign extension is gone';
    const image = openOver(file, made.backing);
    const wrong = judgeReport(runToEnd(image.check()), { mayLeak: true });
    if (wrong !== undefined) return wrong;
    if (Buffer.compare(contentOf(image), made.content) !== 0) return 'the content has changed';
    const names = runToEnd(image.bitmaps({ start: 0, limit: 100 }))
      .items.map(({ name }) => name)
      .join();
    if (!made.possible.includes(names)) return `the bitmaps are [${names}], not [${made.possible.join('] or [')}]`;
    image.write(guestOffset(0), new Uint8Array(512), { detectZeroes: false });
    image.close();
    return undefined;
  } catch (error) {
    return error instanceof Error ? (error.stack ?? error.message) : String(error);
  }
}
