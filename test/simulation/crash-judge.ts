// Opens what a crash left, as the product would, and judges it by what the engine promises.

import type { ByteFile } from '../../src/engine/file/byte-file.ts';
import { MemoryFile } from '../../src/engine/file/memory-file.ts';
import { guestOffset } from '../../src/engine/format/offsets.ts';
import { Image } from '../../src/engine/image.ts';
import type { CheckReport, SnapshotDescription } from '../../src/engine/image.ts';
import type { Layer } from '../../src/engine/layer/layer.ts';
import { RawLayer } from '../../src/engine/layer/raw-layer.ts';
import { runToEnd } from '../../src/engine/operations/steps.ts';
import { contentAfterCrash, FaultyFile, survivals } from '../support/faulty-file.ts';
import type { Epoch } from '../support/faulty-file.ts';
import { judgeContent } from '../support/model-disk.ts';
import type { Expectation, ModelSnapshot } from '../support/model-disk.ts';
import { Prng } from '../support/prng.ts';

/** How a crash while mending is made. */
export interface SecondCrash {
  readonly chance: Prng;
  /** Asked for every flush that has something to make durable. */
  readonly ignoresFlush: (places: readonly string[]) => boolean;
}

/** Opens an image for writing over a file; `backing` is the content of the raw file below, or any other layer. */
export function openOver(file: ByteFile, backing: Uint8Array | Layer | undefined): Image {
  const layer = backing instanceof Uint8Array ? new RawLayer(MemoryFile.of(backing)) : backing;
  return Image.openFile(file, { writable: true, backing: layer });
}

/** All guest bytes. */
export function contentOf(image: Image): Uint8Array {
  const content = new Uint8Array(image.virtualSize);
  image.read(guestOffset(0), content);
  return content;
}

/** The VM state of a snapshot. */
export function vmStateOf(image: Image, snapshot: SnapshotDescription): Uint8Array {
  const state = new Uint8Array(snapshot.vmStateSize);
  image.readVmState(snapshot.id, 0, state);
  return state;
}

/**
 * What is wrong with a file that a crash has left: a sentence, or undefined. The file is changed: recovered and repaired
 * where the product does that, and written to when `goesOn` gives a seed for it.
 */
export function judgeCrash(
  file: MemoryFile,
  judgement: {
    readonly expectation: Expectation;
    readonly backing: Uint8Array | Layer | undefined;
    /** Of an encrypted image. */
    readonly volumeKey?: Uint8Array | undefined;
    readonly goesOn: number | undefined;
    /** A second crash, at one moment of the recovery or repair. */
    readonly again: SecondCrash | undefined;
  },
): string | undefined {
  const { expectation, backing, volumeKey, goesOn, again } = judgement;
  const mended = again === undefined ? undefined : mendedFile(file, again);
  try {
    const image = openOver(mended?.file ?? file, backing);
    if (volumeKey !== undefined) image.unlock(volumeKey);
    const isMended = image.needsRecovery || expectation.isStructural;
    if (image.needsRecovery) runToEnd(image.recover());
    // The catalog says that a structural operation was under way, and nobody gets in before the repair.
    if (expectation.isStructural) runToEnd(image.repair('all'));
    const wrong =
      judgeReport(runToEnd(image.check()), { mayLeak: !isMended }) ??
      judgeContent(contentOf(image), expectation) ??
      judgeSnapshots(image, expectation.snapshotLists) ??
      (goesOn === undefined ? undefined : judgeLifeAfter(image, goesOn));
    image.abandon();
    if (wrong !== undefined || mended === undefined || !isMended) return wrong;
    const second = judgeCrash(mended.crashed(), { ...judgement, goesOn: undefined, again: undefined });
    return second === undefined ? undefined : `after a second crash, while mending: ${second}`;
  } catch (error) {
    return error instanceof Error ? (error.stack ?? error.message) : String(error);
  }
}

/** A file that keeps one state which a crash could leave of what is done to it now. */
function mendedFile(
  content: MemoryFile,
  again: SecondCrash,
): { readonly file: FaultyFile; readonly crashed: () => MemoryFile } {
  const { chance } = again;
  let crashed = content.fork();
  let epochs = 0;
  const consider = (epoch: Epoch): void => {
    epochs += 1;
    // Each epoch so far has the same chance to be the one.
    if (chance.below(epochs) > 0) return;
    const count = chance.below(epoch.changes.length + 1);
    crashed = contentAfterCrash(epoch, chance.pick(survivals(epoch, count, { samples: 4, chance })));
  };
  const file: FaultyFile = new FaultyFile(content, {
    observer: {
      changed: () => undefined,
      flushing: () => {
        consider(file.epoch);
      },
    },
    ignoresFlush: again.ignoresFlush,
  });
  return {
    file,
    crashed: () => {
      consider(file.epoch);
      return crashed;
    },
  };
}

/** What is wrong with a report: corruption is, and leaks are where everything was to be clean. */
export function judgeReport(report: CheckReport, options: { readonly mayLeak: boolean }): string | undefined {
  const isBad = report.corruptions > 0 || report.checkErrors > 0 || (!options.mayLeak && report.leaks > 0);
  if (!isBad) return undefined;
  const { corruptions, leaks, checkErrors } = report;
  const found = report.findings.map(({ message }) => message).slice(0, 5);
  return `check: ${JSON.stringify({ corruptions, leaks, checkErrors })} ${found.join('; ')}`;
}

/** The snapshots are those of one list, each with its content. */
export function judgeSnapshots(image: Image, lists: readonly (readonly ModelSnapshot[])[]): string | undefined {
  const found = image.snapshots({ from: 0, limit: 1000 });
  const names = found.map(({ name }) => name).join();
  const possible = lists.filter((one) => one.map(({ name }) => name).join() === names);
  if (possible.length === 0) {
    const all = lists.map((one) => `[${one.map(({ name }) => name).join()}]`).join(' or ');
    return `the snapshots are [${names}], not ${all}`;
  }
  const wrongs = possible.map((list) => judgeList(image, found, list));
  return wrongs.includes(undefined) ? undefined : wrongs[0];
}

function judgeList(
  image: Image,
  found: readonly SnapshotDescription[],
  list: readonly ModelSnapshot[],
): string | undefined {
  for (const [index, snapshot] of list.entries()) {
    const description = found[index];
    if (description?.virtualSize !== snapshot.bytes.length) return `snapshot ${snapshot.name} has another size`;
    const bytes = new Uint8Array(snapshot.bytes.length);
    image.readSnapshot(description.id, guestOffset(0), bytes);
    if (Buffer.compare(bytes, snapshot.bytes) !== 0) return `snapshot ${snapshot.name} has changed`;
    if (Buffer.compare(vmStateOf(image, description), snapshot.vmState) !== 0) {
      return `the VM state of snapshot ${snapshot.name} has changed`;
    }
  }
  return undefined;
}

/** Whether the image can go on: writes all over it land where they belong and leave it sound. */
function judgeLifeAfter(image: Image, seed: number): string | undefined {
  const chance = new Prng(seed);
  const model = contentOf(image);
  const snapshots = image.snapshots({ from: 0, limit: 1000 }).map(({ id, virtualSize }) => {
    const bytes = new Uint8Array(virtualSize);
    image.readSnapshot(id, guestOffset(0), bytes);
    return { id, bytes };
  });
  for (let round = 0; round < 6; round += 1) {
    const offset = chance.below(model.length);
    const bytes = chance.bytes(1 + chance.below(Math.min(model.length - offset, 20_000)));
    image.write(guestOffset(offset), bytes, { detectZeroes: false });
    model.set(bytes, offset);
  }
  image.flush();
  if (Buffer.compare(contentOf(image), model) !== 0) return 'afterwards writes do not read back';
  for (const { id, bytes } of snapshots) {
    const now = new Uint8Array(bytes.length);
    image.readSnapshot(id, guestOffset(0), now);
    if (Buffer.compare(now, bytes) !== 0) return `afterwards a write changes snapshot ${id}`;
  }
  const wrong = judgeReport(runToEnd(image.check()), { mayLeak: true });
  return wrong === undefined ? undefined : `afterwards ${wrong}`;
}
