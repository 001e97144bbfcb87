// A commit on a disk that fails at every single step of it, below the image or below its target: what failed first is
// told, and whatever a crash leaves of the two files, the image reads as before and the target is sound.

import assert from 'node:assert/strict';
import { renameSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';

import { Fault } from '../../../src/base/fault.ts';
import type { FaultCode } from '../../../src/base/fault-codes.ts';
import { MiB, sectorSize } from '../../../src/base/units.ts';
import { write } from '../../../src/engine/data/writer.ts';
import type { ByteFile } from '../../../src/engine/file/byte-file.ts';
import type { MemoryFile } from '../../../src/engine/file/memory-file.ts';
import { guestOffset } from '../../../src/engine/format/offsets.ts';
import { Image } from '../../../src/engine/image.ts';
import type { CreateSpec, NewEncryption } from '../../../src/engine/image.ts';
import type { Layer } from '../../../src/engine/layer/layer.ts';
import { check } from '../../../src/engine/operations/check.ts';
import { commitInto, SessionLayer } from '../../../src/engine/operations/commit.ts';
import { runToEnd } from '../../../src/engine/operations/steps.ts';
import { contentOf, judgeReport } from '../../simulation/crash-judge.ts';
import { exchangeDescriptor } from '../../support/exchanged-descriptor.ts';
import { contentAfterCrash, FaultyFile, prefixSurvival } from '../../support/faulty-file.ts';
import type { PlannedFailure } from '../../support/faulty-file.ts';
import { faultCodeOf, faultOf } from '../../support/faults.ts';
import { layerOf, luksOf, sessionOver } from '../../support/memory-chain.ts';
import { newFile } from '../../support/memory-parts.ts';
import { smallSpec } from '../../support/plain-spec.ts';
import { Prng } from '../../support/prng.ts';
import { tempFolder } from '../../support/temp-folder.ts';

interface Kind {
  readonly name: string;
  readonly target: Partial<CreateSpec>;
  readonly topKey?: NewEncryption;
  readonly targetKey?: NewEncryption;
  /** The target has a bitmap that records. */
  readonly records?: true;
}

const clusterSize = 512;
const topClusters = 80;
/** The disk of the image is longer than that of its target, which has to grow. */
const targetClusters = 56;
const bytesBelow = new Prng(1).bytes(30 * clusterSize);
const below = layerOf(bytesBelow, undefined);

/** What is written to the image before the commit, and flushed by it: sectors of one value. */
const late = { offset: 40 * clusterSize, length: 5 * clusterSize, value: 0x77 };

const kinds: readonly Kind[] = [
  { name: 'plain files', target: {} },
  { name: 'a target with lazy refcounts', target: { lazyRefcounts: true } },
  { name: 'a target of version 2', target: { compat: '0.10', virtualSize: topClusters * clusterSize } },
  { name: 'a target whose bitmap records', target: { refcountBits: 64 }, records: true },
  { name: 'an encrypted image over a plain one', target: {}, topKey: luksOf(1) },
  { name: 'a plain image over an encrypted one', target: {}, targetKey: luksOf(2) },
  { name: 'an encrypted image over another one', target: {}, topKey: luksOf(1), targetKey: luksOf(2) },
];

/** The files before a commit, and what the guest sees. */
interface Start {
  readonly top: MemoryFile;
  readonly target: MemoryFile;
  /** What each shows, as long as the image. */
  readonly targetBytes: Uint8Array;
  readonly content: Uint8Array;
  /** What the image shows with what is written late. */
  readonly changed: Uint8Array;
}

const failures: readonly { readonly call: PlannedFailure['call']; readonly code: FaultCode }[] = [
  { call: 'read', code: 'io-error' },
  { call: 'write', code: 'insufficient-storage' },
  { call: 'flush', code: 'io-error' },
];

for (const kind of kinds) {
  describe(`a commit on a disk that fails at any step, ${kind.name}`, () => {
    const start = startOf(kind);
    for (const which of ['top', 'target'] as const) {
      for (const { call, code } of failures) {
        it(`${call} of the ${which} fails with ${code}`, () => {
          let after = 0;
          while (failsAt(kind, start, { which, failure: { call, after, fault: new Fault(code, {}) } })) after += 1;
          assert.ok(after > 0, 'the failure came true at least once');
        });
      }
    }
  });
}

/** Lives through one failure; false when there were fewer such calls. */
function failsAt(
  kind: Kind,
  start: Start,
  trial: { readonly which: 'top' | 'target'; readonly failure: PlannedFailure },
): boolean {
  const { which, failure } = trial;
  const where = `${failure.call} ${String(failure.after)} of the ${which}`;
  const files = { top: faulty(start.top), target: faulty(start.target) };
  const target = targetOver(files.target, kind);
  const top = sessionOver(files.top, { layer: target, encryption: kind.topKey });
  top.change((parts) => {
    write(parts, guestOffset(late.offset), new Uint8Array(late.length).fill(late.value));
  });
  files[which].failLater(failure);
  const told = faultCodeOf(() => {
    top.flush();
    runToEnd(commitInto(top, target, { depth: 1, mend: false }));
    target.close();
  });
  const failed = files[which].takeFailureBack();
  assert.equal(told, failed ? failure.fault.code : undefined, where);
  for (const topFile of crashesOf(files.top)) {
    for (const targetFile of crashesOf(files.target)) {
      const crash = { kind, start, where, isOver: !failed };
      judge({ top: topFile.fork(), target: targetFile }, crash);
    }
  }
  top.release();
  if (failed) {
    // As after a crash: nobody knows whether the file says that the bitmap is in use.
    const isBitmapLost = kind.records === true && which === 'target' && failure.call === 'flush';
    assertGoesOn(kind, start, { top: files.top.content, target: files.target.content, where, isBitmapLost });
  }
  return failed;
}

describe('a commit whose files fail under it', () => {
  it('tells what failed first, and the image reads as before', () => {
    using chain = realChain();
    const { image, content, basePath } = chain;
    const steps = image.commit({ depth: 1, mend: false });
    steps.next();
    exchangeDescriptor(basePath, '/proc/version');
    const told = faultOf(() => runToEnd(steps));
    assert.deepEqual([told?.[0], told?.[1]['operation']], ['io-error', 'write']);
    assert.equal(Buffer.compare(contentOf(image), content), 0);
    runToEnd(image.commit({ depth: 1, mend: true }));
    image.close();
    const base = Image.open({ path: basePath, writable: false, backing: [], locks: 'none', caches: undefined });
    assert.equal(Buffer.compare(contentOf(base), content), 0);
    base.close();
  });

  it('tells whoever reads through a layer that cannot be opened again', () => {
    using chain = realChain();
    const { image, content, basePath } = chain;
    const steps = image.commit({ depth: 1, mend: false });
    steps.next();
    renameSync(basePath, `${basePath}.away`);
    assert.equal(
      faultCodeOf(() => runToEnd(steps)),
      'backing-missing',
    );
    assert.equal(
      faultCodeOf(() => contentOf(image)),
      'backing-missing',
    );
    image.close();
    renameSync(`${basePath}.away`, basePath);
    const again = openReal(chain);
    assert.equal(Buffer.compare(contentOf(again), content), 0);
    again.close();
  });
});

/** An image over another one, in files of a folder. */
interface RealChain extends Disposable {
  readonly image: Image;
  readonly content: Uint8Array;
  readonly topPath: string;
  readonly basePath: string;
}

function realChain(): RealChain {
  const folder = tempFolder();
  const paths = { topPath: join(folder.path, 'top'), basePath: join(folder.path, 'base') };
  const virtualSize = 4 * MiB;
  runToEnd(Image.create(paths.basePath, { ...smallSpec, virtualSize }));
  runToEnd(Image.create(paths.topPath, { ...smallSpec, virtualSize, backing: { fileName: 'base', format: 'qcow2' } }));
  const image = openReal(paths);
  for (let at = 0; at < virtualSize; at += MiB) {
    image.write(guestOffset(at), new Prng(at).bytes(MiB / 2), { detectZeroes: false });
  }
  return { ...paths, image, content: contentOf(image), [Symbol.dispose]: () => folder[Symbol.dispose]() };
}

function openReal({ topPath, basePath }: Pick<RealChain, 'topPath' | 'basePath'>): Image {
  const backing = [{ fileName: 'base', path: basePath, format: 'qcow2' }] as const;
  return Image.open({ path: topPath, writable: true, backing, locks: 'none', caches: undefined });
}

interface Pair {
  readonly top: MemoryFile;
  readonly target: MemoryFile;
}

/** The image shows what it showed, and the target what it had or what the image has. */
function judge(
  pair: Pair,
  crash: { readonly kind: Kind; readonly start: Start; readonly where: string; readonly isOver: boolean },
): void {
  const { kind, start, where, isOver } = crash;
  const target = targetOver(pair.target, kind);
  const { session } = target;
  const isMended = session.header.isDirty;
  if (isMended) runToEnd(session.repairWith('all'));
  const report = runToEnd(session.checkWith(check));
  assert.equal(judgeReport(report, { mayLeak: !isMended && !isOver }), undefined, where);
  const found = new Uint8Array(topClusters * clusterSize);
  const { size } = target;
  assert.ok(size >= found.length || (!isOver && size === targetClusters * clusterSize), where);
  target.read(guestOffset(0), found.subarray(0, Math.min(size, found.length)));
  const { content, changed, targetBytes } = start;
  assertOneOf(found, isOver ? [changed] : [changed, targetBytes, content], `${where}: the target`);
  const image = imageOver(pair.top, { layer: target, encryption: kind.topKey });
  assert.equal(judgeReport(runToEnd(image.check()), { mayLeak: !isOver }), undefined, where);
  assertOneOf(contentOf(image), isOver ? [changed] : [changed, content], `${where}: the image`);
  image.abandon();
}

/** Every sector is that of one of them. */
function assertOneOf(found: Uint8Array, possible: readonly Uint8Array[], what: string): void {
  for (let at = 0; at < found.length; at += sectorSize) {
    const sector = found.subarray(at, at + sectorSize);
    const isKnown = possible.some((one) => Buffer.compare(sector, one.subarray(at, at + sectorSize)) === 0);
    assert.ok(isKnown, `${what} has strange bytes at ${String(at)}`);
  }
}

/** Asked for again, the commit mends what the failure has left, and no space is lost. */
function assertGoesOn(
  kind: Kind,
  start: Start,
  left: Pair & { readonly where: string; readonly isBitmapLost: boolean },
): void {
  const pair = { top: left.top.fork(), target: left.target.fork() };
  if (left.isBitmapLost) {
    const image = imageOver(pair.target, { layer: below, encryption: kind.targetKey });
    image.deleteBitmap('records');
    image.close();
  }
  const target = targetOver(pair.target, kind);
  const top = sessionOver(pair.top, { layer: target, encryption: kind.topKey });
  // Its row, too, says that a commit was under way.
  runToEnd(top.repairWith('all'));
  top.change((parts) => {
    write(parts, guestOffset(late.offset), new Uint8Array(late.length).fill(late.value));
  });
  runToEnd(commitInto(top, target, { depth: 1, mend: true }));
  target.close();
  top.release();
  judge(pair, { kind, start, where: `${left.where}: again`, isOver: true });
}

function faulty(content: MemoryFile): FaultyFile {
  return new FaultyFile(content, { observer: undefined, ignoresFlush: () => false });
}

/** The oldest and the newest of what a crash may leave. */
function crashesOf({ epoch }: FaultyFile): readonly MemoryFile[] {
  return [0, epoch.changes.length].map((count) => contentAfterCrash(epoch, prefixSurvival(count)));
}

function targetOver(file: ByteFile, kind: Kind): SessionLayer {
  return new SessionLayer(sessionOver(file, { layer: below, encryption: kind.targetKey }));
}

function imageOver(
  file: ByteFile,
  use: { readonly layer: Layer; readonly encryption: NewEncryption | undefined },
): Image {
  const image = Image.openFile(file, { writable: true, backing: use.layer });
  if (use.encryption !== undefined) image.unlock(use.encryption.volumeKey);
  return image;
}

/** A target over a raw file, and an image over it, each with data, zeroes and nothing here and there. */
function startOf(kind: Kind): Start {
  const target = newFile({
    ...{ clusterSize, virtualSize: targetClusters * clusterSize, ...kind.target },
    ...{ backing: { fileName: 'below.raw', format: 'raw' }, encryption: kind.targetKey },
  });
  const targetImage = imageOver(target, { layer: below, encryption: kind.targetKey });
  if (kind.records === true) targetImage.createBitmap({ name: 'records', granularity: 512, enabled: true });
  fill(targetImage, 2);
  const targetBytes = new Uint8Array(topClusters * clusterSize);
  targetBytes.set(contentOf(targetImage));
  targetImage.close();
  const top = newFile({
    ...{ clusterSize, virtualSize: topClusters * clusterSize },
    ...{ backing: { fileName: 'target', format: 'qcow2' }, encryption: kind.topKey },
  });
  const topImage = imageOver(top, { layer: targetOver(target.fork(), kind), encryption: kind.topKey });
  fill(topImage, 3);
  const content = contentOf(topImage);
  topImage.close();
  const changed = content.slice().fill(late.value, late.offset, late.offset + late.length);
  return { top, target, targetBytes, content, changed };
}

function fill(image: Image, seed: number): void {
  const chance = new Prng(seed);
  const clusters = image.virtualSize / clusterSize;
  for (let round = 0; round < 4; round += 1) {
    const offset = chance.below(image.virtualSize - 20 * clusterSize);
    image.write(guestOffset(offset), chance.bytes(1 + chance.below(15 * clusterSize)), { detectZeroes: false });
  }
  image.write(guestOffset(image.virtualSize - 700), chance.bytes(600), { detectZeroes: false });
  runToEnd(image.zero(guestOffset(chance.below(clusters - 10) * clusterSize), 8 * clusterSize, { unmap: true }));
}
