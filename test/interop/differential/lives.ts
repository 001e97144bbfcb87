// The two lives of one stream: by our engine over a real file, and by qemu-io and qemu-img.

import { closeSync, ftruncateSync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';

import { Image } from '../../../src/engine/image.ts';
import type { BackingFile } from '../../../src/engine/image.ts';
import { guestOffset } from '../../../src/engine/format/offsets.ts';
import { runToEnd } from '../../../src/engine/operations/steps.ts';
import { qemuImg, qemuIo } from '../../support/qemu-img.ts';
import type { Operation, Stream, StreamOptions } from './stream.ts';

const backingName = 'base.raw';

/** Where an image of a stream keeps its data, if not in itself. */
export function dataPathOf(imagePath: string): string {
  return imagePath.replace(/qcow2$/, 'data');
}

/** QEMU looks for a relative name in its own working folder, not beside the image. */
function dataFileOf(imagePath: string): { readonly fileName: string; readonly path: string } {
  const path = dataPathOf(imagePath);
  return { fileName: path, path };
}

/** Makes the layer below in a folder: a raw file with a pattern in some places. */
export function makeBacking(folder: string, options: StreamOptions): void {
  if (options.backingSize === undefined) return;
  const third = Math.floor(options.backingSize / 3);
  const file = openSync(join(folder, backingName), 'w');
  writeSync(file, new Uint8Array(third).fill(201), 0, third, 0);
  writeSync(file, new Uint8Array(third).fill(202), 0, third, 2 * third);
  ftruncateSync(file, options.backingSize);
  closeSync(file);
}

/** Lives the stream with our engine and leaves the closed file. */
export function liveOurs(folder: string, stream: Stream): string {
  const path = join(folder, 'ours.qcow2');
  const { options } = stream;
  const dataFile = dataFileOf(path);
  runToEnd(
    Image.create(path, {
      ...options,
      compressionType: 'zlib',
      preallocation: 'off',
      backing: options.backingSize === undefined ? undefined : { fileName: backingName, format: 'raw' },
      dataFile: options.dataFile === 'none' ? undefined : { ...dataFile, raw: options.dataFile === 'raw' },
    }),
  );
  const open = (): Image => openImage(folder, { path, writable: true, options });
  let image = open();
  for (const operation of stream.operations) {
    if (operation.kind === 'reopen') {
      image.close();
      image = open();
    } else {
      doOurs(image, operation);
    }
  }
  image.close();
  return path;
}

/** Opens the image of a life with our engine. */
export function openImage(
  folder: string,
  image: { readonly path: string; readonly writable: boolean; readonly options: StreamOptions },
): Image {
  const { path, writable, options } = image;
  const below: BackingFile = { fileName: backingName, path: join(folder, backingName), format: 'raw' };
  const backing = options.backingSize === undefined ? [] : [below];
  return Image.open({ path, writable, locks: 'qemu', backing, dataFile: dataFileOf(path) });
}

function doOurs(image: Image, operation: Exclude<Operation, { kind: 'reopen' }>): void {
  switch (operation.kind) {
    case 'write':
      image.write(guestOffset(operation.offset), new Uint8Array(operation.length).fill(operation.pattern), {
        detectZeroes: false,
      });
      return;
    case 'pack': {
      const bytes = new Uint8Array(operation.length).fill(operation.pattern);
      runToEnd(image.writeCompressed(guestOffset(operation.offset), bytes, { detectZeroes: false }));
      return;
    }
    case 'zero':
      runToEnd(image.zero(guestOffset(operation.offset), operation.length, { unmap: operation.unmap }));
      return;
    case 'discard':
      runToEnd(image.discard(guestOffset(operation.offset), operation.length));
      return;
    case 'flush':
      image.flush();
      return;
    case 'resize':
      runToEnd(image.resize({ virtualSize: operation.virtualSize, allowShrink: true, preallocation: 'off' }));
      return;
    case 'snapshot':
      runToEnd(image.createSnapshot({ name: operation.name, seconds: 0, nanoseconds: 0, idFloor: 0 }));
      return;
    case 'delete':
      runToEnd(image.deleteSnapshot(operation.name));
      return;
    case 'revert':
      runToEnd(image.revertSnapshot(operation.name));
      return;
  }
}

/** Lives the stream with QEMU's tools; commands in a row share one qemu-io. */
export function liveTwin(folder: string, stream: Stream): string {
  const path = join(folder, 'twin.qcow2');
  const { options } = stream;
  const below = options.backingSize === undefined ? [] : ['-b', backingName, '-F', 'raw'];
  const own = createOptions(options);
  const dataFile = `data_file=${dataPathOf(path)},data_file_raw=${options.dataFile === 'raw' ? 'on' : 'off'}`;
  const words = options.dataFile === 'none' ? own : `${own},${dataFile}`;
  qemuImg('create', '-q', '-f', 'qcow2', '-o', words, ...below, path, String(options.virtualSize));
  let commands: string[] = [];
  let virtualSize = options.virtualSize;
  let virtualSizeMax = virtualSize;
  const sizes = new Map<string, number>();
  const settle = (): void => {
    if (commands.length > 0) {
      qemuIo(path, commands, { format: 'qcow2', readOnly: false, syncs: false, discard: 'unmap' });
    }
    commands = [];
  };
  for (const operation of stream.operations) {
    const some = commandsOf(operation);
    if (some.length > 0) {
      // REF-13: a process that packs a second time may overwrite what has taken the place of the first blobs.
      if (operation.kind === 'pack' && commands.some((command) => command.startsWith('write -c'))) settle();
      commands.push(...some);
      continue;
    }
    if (operation.kind === 'resize') {
      commands.push(`truncate ${String(operation.virtualSize)}`);
      const change = { from: virtualSize, to: operation.virtualSize, clusterSize: options.clusterSize };
      // A disk that was never longer, with nothing below, has nothing stale behind its end.
      const mayBeStale = options.backingSize !== undefined || virtualSizeMax > virtualSize;
      virtualSize = change.to;
      virtualSizeMax = Math.max(virtualSizeMax, virtualSize);
      if (mayBeStale && staleTail(change) > 0) {
        settle();
        hideStaleTail(path, change);
      }
      continue;
    }
    settle();
    if (operation.kind === 'snapshot') {
      qemuImg('snapshot', '-c', operation.name, path);
      sizes.set(operation.name, virtualSize);
    } else if (operation.kind === 'delete') {
      qemuImg('snapshot', '-d', operation.name, path);
    } else if (operation.kind === 'revert') {
      qemuImg('snapshot', '-a', operation.name, path);
      virtualSize = sizes.get(operation.name) ?? virtualSize;
    }
  }
  settle();
  return path;
}

function commandsOf(operation: Operation): readonly string[] {
  switch (operation.kind) {
    case 'write':
      return [`write -P ${String(operation.pattern)} ${String(operation.offset)} ${String(operation.length)}`];
    case 'pack': {
      const { offset, length, pattern } = operation;
      const span = `${String(offset)} ${String(length)}`;
      return [`discard ${span}`, `write -c -P ${String(pattern)} ${span}`];
    }
    case 'zero':
      return [`write -z ${operation.unmap ? '-u ' : ''}${String(operation.offset)} ${String(operation.length)}`];
    case 'discard':
      return [`discard ${String(operation.offset)} ${String(operation.length)}`];
    case 'flush':
      return ['flush'];
    default:
      return [];
  }
}

/** T15: QEMU shows stale bytes behind an end inside a cluster; exactly they are overwritten before anybody looks. */
function hideStaleTail(path: string, change: SizeChange): void {
  const { from } = change;
  const length = staleTail(change);
  const shown = qemuImgReads(path, { offset: from, length });
  if (shown === 'zeroes') return;
  qemuIo(path, [`write -P 0 ${String(from)} ${String(length)}`], {
    format: 'qcow2',
    readOnly: false,
    syncs: false,
    discard: 'unmap',
  });
}

interface SizeChange {
  readonly from: number;
  readonly to: number;
  readonly clusterSize: number;
}

/** How many bytes between the old end and the end of its cluster become visible. */
function staleTail({ from, to, clusterSize }: SizeChange): number {
  return Math.max(0, Math.min(to, Math.ceil(from / clusterSize) * clusterSize) - from);
}

function qemuImgReads(path: string, span: { readonly offset: number; readonly length: number }): 'zeroes' | 'stale' {
  try {
    qemuIo(path, [`read -P 0 ${String(span.offset)} ${String(span.length)}`], {
      format: 'qcow2',
      readOnly: true,
      syncs: false,
      discard: 'unmap',
    });
    return 'zeroes';
  } catch (error) {
    if (error instanceof Error && error.message.includes('Pattern verification failed')) return 'stale';
    throw error;
  }
}

function createOptions(options: StreamOptions): string {
  const words = [`compat=${options.compat}`, `cluster_size=${String(options.clusterSize)}`];
  if (options.compat === '0.10') return words.join(',');
  return [
    ...words,
    `refcount_bits=${String(options.refcountBits)}`,
    `extended_l2=${options.extendedL2 ? 'on' : 'off'}`,
    `lazy_refcounts=${options.lazyRefcounts ? 'on' : 'off'}`,
  ].join(',');
}
