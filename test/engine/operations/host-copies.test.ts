// What is left to the file system is not read here, and shows the same in the end (OPS-25).

import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';

import { KiB } from '../../../src/base/units.ts';
import { layerOver } from '../../../src/engine/data/image-layer.ts';
import { NodeFile } from '../../../src/engine/file/node-file.ts';
import { TrackedFile } from '../../../src/engine/file/tracked-file.ts';
import type { HostOffset } from '../../../src/engine/format/offsets.ts';
import { guestOffset } from '../../../src/engine/format/offsets.ts';
import { Image } from '../../../src/engine/image.ts';
import type { CreateSpec } from '../../../src/engine/image.ts';
import type { Layer } from '../../../src/engine/layer/layer.ts';
import { RawLayer } from '../../../src/engine/layer/raw-layer.ts';
import { copyDown, SessionLayer } from '../../../src/engine/operations/commit.ts';
import { copyToFile } from '../../../src/engine/operations/copy.ts';
import { ImageSession } from '../../../src/engine/operations/image-session.ts';
import { rebase } from '../../../src/engine/operations/rebase.ts';
import { runToEnd } from '../../../src/engine/operations/steps.ts';
import { contentOf } from '../../simulation/crash-judge.ts';
import { plainSpec } from '../../support/plain-spec.ts';
import { Prng } from '../../support/prng.ts';
import { tempFolder } from '../../support/temp-folder.ts';

const cluster = 64 * KiB;
const size = 24 * cluster + 512;
const spec: CreateSpec = { ...plainSpec, clusterSize: cluster, virtualSize: size };
/** Tables and headers are read in any case. */
const tablesMax = 6 * cluster;

/** A file of the kernel's that knows how much of it was read here. */
class ReadCounter extends TrackedFile {
  bytesRead = 0;

  static open(path: string): ReadCounter {
    return new ReadCounter(NodeFile.open(path, { writable: true, locks: 'none' }));
  }

  override readAt(offset: HostOffset, target: Uint8Array): void {
    this.bytesRead += target.length;
    super.readAt(offset, target);
  }
}

/** Data all over the disk, but for one zero cluster. */
const content = new Prng(5).bytes(size);
content.fill(0, 12 * cluster, 13 * cluster);

function make(path: string): void {
  runToEnd(Image.create(path, spec));
  const image = Image.open({ path, writable: true, locks: 'none', backing: [] });
  image.write(guestOffset(0), content, { detectZeroes: true });
  image.close();
}

function sessionOver(file: ReadCounter | NodeFile, layer: Layer | undefined): ImageSession {
  return ImageSession.open(file, { writable: true, layer, openDataFile: undefined });
}

function openTarget(path: string, hostCopies: boolean): NodeFile {
  return NodeFile.open(path, { writable: true, locks: 'none', hostCopies });
}

/** Nothing but tables is read when the file system copies. */
function judge(path: string, trial: { counter: ReadCounter; hostCopies: boolean; expected: Uint8Array }): void {
  const { bytesRead } = trial.counter;
  assert.ok(trial.hostCopies ? bytesRead < tablesMax : bytesRead > size - 2 * cluster, String(bytesRead));
  const image = Image.open({ path, writable: true, locks: 'none', backing: [] });
  assert.equal(Buffer.compare(contentOf(image), trial.expected), 0);
  assert.equal(runToEnd(image.check()).clean, true);
  image.close();
}

for (const hostCopies of [true, false]) {
  describe(`data ${hostCopies ? 'that the file system copies is not' : 'is'} read`, () => {
    it('for a copy, whose source file ends within its last cluster (FMT-14)', () => {
      using folder = tempFolder();
      const [source, path] = [join(folder.path, 'source'), join(folder.path, 'copy')];
      make(source);
      const counter = ReadCounter.open(source);
      counter.resize(counter.size - 100);
      const session = sessionOver(counter, undefined);
      const expected = content.slice();
      expected.fill(0, size - 100);
      counter.bytesRead = 0;
      const wish = { path, spec, compress: false, keepsZeroes: false, hostCopies } as const;
      runToEnd(copyToFile(layerOver(session.parts, size), wish));
      judge(path, { counter, hostCopies, expected });
      session.close();
    });

    for (const format of ['raw', 'qcow2'] as const) {
      it(`for a flattening of what stands on a ${format} file`, () => {
        using folder = tempFolder();
        const [below, path] = [join(folder.path, 'below'), join(folder.path, 'top')];
        const expected = content.slice();
        if (format === 'qcow2') make(below);
        else {
          // As a layer it ends with a whole sector.
          writeFileSync(below, content.subarray(0, size - 100));
          expected.fill(0, size - 100);
        }
        runToEnd(Image.create(path, { ...spec, backing: { fileName: 'below', format } }));
        const counter = ReadCounter.open(below);
        const layer = format === 'raw' ? new RawLayer(counter) : layerOver(sessionOver(counter, undefined).parts, size);
        counter.bytesRead = 0;
        const session = sessionOver(openTarget(path, hostCopies), layer);
        const wish = { backing: undefined, layer: undefined, mode: 'safe', shared: { old: 1, new: 0 } } as const;
        runToEnd(session.changeInSteps((parts) => rebase(parts, { ...wish, switched: () => undefined })));
        session.close();
        judge(path, { counter, hostCopies, expected });
        // The raw layer has closed it.
        if (format === 'qcow2') counter.close();
      });
    }

    it('for a commit, into places that the target has already, and into new ones', () => {
      using folder = tempFolder();
      const [below, path] = [join(folder.path, 'below'), join(folder.path, 'top')];
      runToEnd(Image.create(below, { ...spec, virtualSize: 20 * cluster }));
      const base = Image.open({ path: below, writable: true, locks: 'none', backing: [] });
      base.write(guestOffset(cluster), new Prng(6).bytes(3 * cluster), { detectZeroes: false });
      base.close();
      make(path);
      const counter = ReadCounter.open(path);
      const target = sessionOver(openTarget(below, hostCopies), undefined);
      const top = sessionOver(counter, new SessionLayer(target));
      counter.bytesRead = 0;
      runToEnd(copyDown(top, target, 1));
      top.close();
      judge(below, { counter, hostCopies, expected: content });
    });
  });
}
