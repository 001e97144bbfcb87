// The life of a stream by qemu-img and qemu-io; commands in a row share one qemu-io.

import { copyFileSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { createEncrypted } from '../../support/encrypted-image.ts';
import { qemuImg, runTool } from '../../support/qemu-img.ts';
import { dataFileOf, imageName } from './layers.ts';
import { moveOver, secondPassphrase } from './our-life.ts';
import { QemuFile } from './qemu-file.ts';
import type { Amendment, BitmapChange, Form, LayerName, Operation, Stream, StreamOptions } from './stream.ts';

/** Makes the image of a life; a LUKS one is a copy of ours, since QEMU takes seconds to make one. */
export function createTwin(folder: string, options: StreamOptions, ours: string): void {
  const { below, dataFile, encryption, preallocation, virtualSize } = options;
  const path = join(folder, imageName);
  if (encryption === 'luks') {
    copyFileSync(ours, path);
    return;
  }
  const words = [formWords(options), `preallocation=${preallocation}`];
  if (dataFile !== 'none') {
    words.push(`data_file=${dataFileOf(folder).path},data_file_raw=${dataFile === 'raw' ? 'on' : 'off'}`);
  }
  const size = String(virtualSize);
  if (encryption === 'aes') {
    const backing = below === undefined ? [] : [`backing_file=${below},backing_fmt=${formatOf(below)}`];
    createEncrypted(path, { format: 'aes', encrypt: {}, options: [...words, ...backing].join(','), size });
    return;
  }
  const backing = below === undefined ? [] : ['-b', below, '-F', formatOf(below)];
  qemuImg('create', '-q', '-f', 'qcow2', '-o', words.join(','), ...backing, path, size);
}

function formWords(form: Form): string {
  const words = [`compat=${form.compat}`, `cluster_size=${String(form.clusterSize)}`];
  if (form.compat === '0.10') return words.join(',');
  return [
    ...words,
    `refcount_bits=${String(form.refcountBits)}`,
    `extended_l2=${form.extendedL2 ? 'on' : 'off'}`,
    `lazy_refcounts=${form.lazyRefcounts ? 'on' : 'off'}`,
    `compression_type=${form.compressionType}`,
  ].join(',');
}

function formatOf(below: LayerName): string {
  return below === 'base.raw' ? 'raw' : 'qcow2';
}

/** Lives the stream and leaves the file. */
export function liveTwin(folder: string, stream: Stream): QemuFile {
  const life = new TwinLife(folder, stream.options);
  for (const operation of stream.operations) life.act(operation);
  return life.end();
}

const writing = { readOnly: false } as const;

class TwinLife {
  readonly #folder: string;
  #file: QemuFile;
  #below: LayerName | undefined;
  #clusterSize: number;
  #commands: string[] = [];
  #virtualSize: number;
  /** Something may lie behind the end: it was longer once, or had something below. */
  #mayBeStale: boolean;
  readonly #sizes = new Map<string, number>();

  constructor(folder: string, { below, clusterSize, encryption, virtualSize }: StreamOptions) {
    this.#folder = folder;
    this.#file = new QemuFile(join(folder, imageName), { isEncrypted: encryption !== 'none' });
    this.#below = below;
    this.#clusterSize = clusterSize;
    this.#virtualSize = virtualSize;
    this.#mayBeStale = below !== undefined;
  }

  act(operation: Operation): void {
    switch (operation.kind) {
      case 'write':
        this.#commands.push(`write -P ${String(operation.pattern)} ${spanOf(operation)}`);
        return;
      case 'blank':
        this.#commands.push(`write -P 0 ${spanOf(operation)}`);
        return;
      case 'pack':
        // REF-13: a process that packs a second time may overwrite what has taken the place of the first blobs.
        if (this.#commands.some((command) => command.startsWith('write -c'))) this.#settle();
        this.#commands.push(`discard ${spanOf(operation)}`);
        this.#commands.push(`write -c -P ${String(operation.pattern)} ${spanOf(operation)}`);
        return;
      case 'zero':
        this.#commands.push(`write -z ${operation.unmap ? '-u ' : ''}${spanOf(operation)}`);
        return;
      case 'discard':
        this.#commands.push(`discard ${spanOf(operation)}`);
        return;
      case 'flush':
        this.#commands.push('flush');
        return;
      case 'check':
      case 'compact':
        return;
      case 'resize':
        this.#resize(operation);
        return;
      default:
        this.#settle();
        this.#changeWhole(operation);
    }
  }

  end(): QemuFile {
    this.#settle();
    return this.#file;
  }

  /** What is a process of its own. */
  #changeWhole(operation: WholeOperation): void {
    const file = this.#file;
    switch (operation.kind) {
      case 'reopen':
        return;
      case 'snapshot':
        this.#takeSnapshot(operation);
        return;
      case 'delete':
        file.img('snapshot', ['-d', operation.name]);
        return;
      case 'revert':
        file.img('snapshot', ['-a', operation.name]);
        this.#hasSize(this.#sizes.get(operation.name) ?? this.#virtualSize);
        return;
      case 'bitmap': {
        const { options, names } = bitmapWords(operation.name, operation.change);
        file.img('bitmap', options, names);
        return;
      }
      case 'amend':
        file.img('amend', ['-q', '-o', amendWords(operation.amendment)]);
        return;
      case 'rebase':
        this.#rebase(operation.below, operation.mode);
        this.#below = operation.below;
        this.#mayBeStale = true;
        return;
      case 'commit':
        file.img('commit', ['-q']);
        return;
      case 'empty':
        this.#empty();
        return;
      case 'copy':
        this.#moveToCopy(operation);
        return;
      case 'key':
        changeKey(file, operation);
        return;
    }
  }

  #settle(): void {
    if (this.#commands.length > 0) this.#file.io(this.#commands, writing);
    this.#commands = [];
  }

  #resize({ virtualSize, preallocation }: Extract<Operation, { readonly kind: 'resize' }>): void {
    this.#commands.push(`truncate -m ${preallocation} ${String(virtualSize)}`);
    const from = this.#virtualSize;
    const tail = staleTail({ from, to: virtualSize, clusterSize: this.#clusterSize });
    // `freedBytes` in differences.ts: freed clusters become part of the disk with what they held.
    const stale = preallocation === 'off' ? (this.#mayBeStale ? tail : 0) : virtualSize - from;
    this.#hasSize(virtualSize);
    if (stale === 0) return;
    this.#settle();
    // T15: QEMU shows stale bytes behind an end inside a cluster, too; exactly they are overwritten before anybody looks.
    const complaint = this.#file.tryIo([`read -P 0 ${String(from)} ${String(stale)}`], { readOnly: true });
    if (complaint === undefined) return;
    if (!complaint.includes('Pattern verification failed')) throw new Error(complaint);
    this.#file.io([`write -P 0 ${String(from)} ${String(stale)}`], writing);
  }

  #hasSize(virtualSize: number): void {
    if (virtualSize < this.#virtualSize) this.#mayBeStale = true;
    this.#virtualSize = virtualSize;
  }

  #takeSnapshot({ name, vmState }: Extract<Operation, { readonly kind: 'snapshot' }>): void {
    const file = this.#file;
    if (vmState !== undefined) {
      file.io([`write -b -P ${String(vmState.pattern)} 0 ${String(vmState.length)}`], writing);
    }
    file.img('snapshot', ['-c', name]);
    this.#sizes.set(name, this.#virtualSize);
    if (vmState !== undefined) enterStateLength(file.path, name, vmState.length);
  }

  #rebase(below: LayerName | undefined, mode: 'safe' | 'unsafe'): void {
    const words = below === undefined ? ['-b', ''] : ['-b', below, '-F', formatOf(below)];
    this.#file.img('rebase', [...(mode === 'unsafe' ? ['-u'] : []), ...words]);
  }

  /** Only a commit empties an image: it goes into a file that nobody needs. */
  #empty(): void {
    const scratch = join(this.#folder, 'scratch.raw');
    writeFileSync(scratch, '');
    truncateSync(scratch, this.#virtualSize);
    this.#file.img('rebase', ['-u', '-b', 'scratch.raw', '-F', 'raw']);
    this.#file.img('commit', ['-q']);
    this.#rebase(this.#below, 'unsafe');
    rmSync(scratch);
  }

  #moveToCopy({ form, compress }: Extract<Operation, { readonly kind: 'copy' }>): void {
    const copy = join(this.#folder, 'copy.qcow2');
    const packing = compress ? ['-c'] : [];
    this.#file.img('convert', ['-O', 'qcow2', ...packing, '-o', formWords(form)], [copy]);
    moveOver(copy, this.#file.path, dataFileOf(this.#folder).path);
    this.#file = new QemuFile(this.#file.path, { isEncrypted: false });
    this.#below = undefined;
    this.#clusterSize = form.clusterSize;
    this.#mayBeStale = false;
  }
}

type WholeOperation = Exclude<
  Operation,
  { readonly kind: 'write' | 'blank' | 'pack' | 'zero' | 'discard' | 'flush' | 'check' | 'compact' | 'resize' }
>;

function spanOf({ offset, length }: { readonly offset: number; readonly length: number }): string {
  return `${String(offset)} ${String(length)}`;
}

/** How many bytes between the old end and the end of its cluster become visible. */
function staleTail(change: { readonly from: number; readonly to: number; readonly clusterSize: number }): number {
  const { from, to, clusterSize } = change;
  return Math.max(0, Math.min(to, Math.ceil(from / clusterSize) * clusterSize) - from);
}

function amendWords({ compat, refcountBits, lazyRefcounts, dataFileRaw }: Amendment): string {
  const words: string[] = [];
  if (compat !== undefined) words.push(`compat=${compat}`);
  if (refcountBits !== undefined) words.push(`refcount_bits=${String(refcountBits)}`);
  if (lazyRefcounts !== undefined) words.push(`lazy_refcounts=${lazyRefcounts ? 'on' : 'off'}`);
  if (dataFileRaw !== undefined) words.push('data_file_raw=off');
  return words.join(',');
}

function bitmapWords(
  name: string,
  change: BitmapChange,
): { readonly options: readonly string[]; readonly names: readonly string[] } {
  const names = [name];
  switch (change.verb) {
    case 'add': {
      const disabled = change.enabled ? [] : ['--disable'];
      return { options: ['--add', '-g', String(change.granularity), ...disabled], names };
    }
    case 'delete':
      return { options: ['--remove'], names };
    case 'merge':
      return { options: ['--merge', change.from], names };
    default:
      return { options: [`--${change.verb}`], names };
  }
}

function changeKey(file: QemuFile, change: Extract<Operation, { readonly kind: 'key' }>): void {
  const words = [`encrypt.state=${change.state}`, `encrypt.keyslot=${String(change.slot)}`];
  if (change.state === 'active') words.push('encrypt.new-secret=next', 'encrypt.iter-time=10');
  const options = ['--object', `secret,id=next,data=${secondPassphrase}`, '-q', '-o', words.join(',')];
  file.img('amend', options);
}

/** Whether a passphrase opens an encrypted image. */
export function opens(path: string, word: string): boolean {
  const options = `driver=qcow2,encrypt.key-secret=word,file.filename=${path}`;
  const args = ['-r', '--object', `secret,id=word,data=${word}`, '--image-opts', options];
  return runTool('qemu-io', args, 'read 0 512\nquit\n').exit === 0;
}

/**
 * `qemu-img snapshot -c` keeps the VM state of the disk in the snapshot, and says it had none: the length is entered as
 * `savevm` does (SNT-01, SNT-02).
 */
function enterStateLength(path: string, name: string, length: number): void {
  const file = readFileSync(path);
  let entry = Number(file.readBigUInt64BE(64));
  for (let left = file.readUInt32BE(60); left > 0; left -= 1) {
    const extraLength = file.readUInt32BE(entry + 36);
    const idLength = file.readUInt16BE(entry + 12);
    const nameLength = file.readUInt16BE(entry + 14);
    const nameAt = entry + 40 + extraLength + idLength;
    if (file.toString('utf8', nameAt, nameAt + nameLength) === name) {
      file.writeUInt32BE(length, entry + 32);
      file.writeBigUInt64BE(BigInt(length), entry + 40);
    }
    entry = Math.ceil((nameAt + nameLength) / 8) * 8;
  }
  writeFileSync(path, file);
}
