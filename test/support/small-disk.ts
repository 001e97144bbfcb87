// A disk that is full when a test says so: open image files on it fail as those of a full file system do.

import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';

import type { ByteSpan } from '../../src/base/byte-span.ts';
import type { Fault } from '../../src/base/fault.ts';
import { sectorSize } from '../../src/base/units.ts';
import type { ByteFile } from '../../src/engine/file/byte-file.ts';
import { fileFault, lostWrites } from '../../src/engine/file/file-faults.ts';
import { NodeFile } from '../../src/engine/file/node-file.ts';
import type { HostOffset } from '../../src/engine/format/offsets.ts';
import { Image } from '../../src/engine/image.ts';
import type { Engine } from '../../src/pool/engine.ts';
import { houseEngine } from './service-engine.ts';

/** The calls that a full disk refuses. */
export type RefusedCall = 'write' | 'preallocate' | 'flush';

const statBlockSize = 512;

export class SmallDisk {
  readonly #folder: string;
  #capacity = Infinity;
  #refusal: { readonly call: RefusedCall; after: number } | undefined;

  /** Counts what the files of `folder` occupy. */
  constructor(folder: string) {
    this.#folder = folder;
  }

  /** The engine of the product, its open images on this disk; making images is not refused. */
  get engine(): Engine {
    const open: Engine['open'] = ({ path, writable }) => {
      const file = NodeFile.open(path, { writable, locks: 'qemu' });
      return Image.openFile(new SmallDiskFile(file, { path, disk: this }), { writable, backing: undefined });
    };
    return { ...houseEngine, open };
  }

  /** From now on so many more bytes fit, until files shrink or go. */
  leave(bytes: number): void {
    this.#capacity = this.#occupied() + bytes;
  }

  /** The call of this kind after `after` others is refused, once. */
  refuse(call: RefusedCall, after: number): void {
    this.#refusal = { call, after };
  }

  /** Takes a refusal back; whether it had happened. */
  takeRefusalBack(): boolean {
    const hasHappened = this.#refusal === undefined;
    this.#refusal = undefined;
    return hasHappened;
  }

  /** Whether there is no room for a call that makes its file grow by so many bytes. */
  refuses(call: RefusedCall, growth: number): boolean {
    if (this.#refusal?.call === call) {
      this.#refusal.after -= 1;
      if (this.#refusal.after < 0) {
        this.#refusal = undefined;
        return true;
      }
    }
    return growth > 0 && this.#occupied() + growth > this.#capacity;
  }

  #occupied(): number {
    const paths = readdirSync(this.#folder).map((name) => join(this.#folder, name));
    return paths.reduce((sum, path) => sum + statSync(path).blocks * statBlockSize, 0);
  }
}

/** A real file whose growing writes, reservations and flushes may be refused. */
class SmallDiskFile implements ByteFile {
  readonly #file: NodeFile;
  readonly #path: string;
  readonly #disk: SmallDisk;
  #writesLost = false;

  constructor(file: NodeFile, place: { readonly path: string; readonly disk: SmallDisk }) {
    this.#file = file;
    this.#path = place.path;
    this.#disk = place.disk;
  }

  get size(): number {
    return this.#file.size;
  }

  get allocatedSize(): number {
    return this.#file.allocatedSize;
  }

  readAt(offset: HostOffset, target: Uint8Array): void {
    this.#file.readAt(offset, target);
  }

  writeAt(offset: HostOffset, source: Uint8Array): void {
    this.#admitChange();
    if (this.#disk.refuses('write', this.#growth(offset, source.length))) {
      // The beginning still found room.
      const half = Math.floor(source.length / 2 / sectorSize) * sectorSize;
      if (half > 0) this.#file.writeAt(offset, source.subarray(0, half));
      throw this.#full('write');
    }
    this.#file.writeAt(offset, source);
  }

  punch(offset: HostOffset, length: number): void {
    this.#admitChange();
    this.#file.punch(offset, length);
  }

  preallocate(offset: HostOffset, length: number): void {
    this.#admitChange();
    if (this.#disk.refuses('preallocate', this.#growth(offset, length))) throw this.#full('preallocate');
    this.#file.preallocate(offset, length);
  }

  nextData(offset: HostOffset): ByteSpan | undefined {
    return this.#file.nextData(offset);
  }

  resize(size: number): void {
    this.#admitChange();
    this.#file.resize(size);
  }

  startWriteBack(offset: HostOffset, length: number): void {
    this.#admitChange();
    this.#file.startWriteBack(offset, length);
  }

  flush(): void {
    this.#admitChange();
    if (this.#disk.refuses('flush', 0)) {
      this.#writesLost = true;
      throw this.#full('flush');
    }
    this.#file.flush();
  }

  close(): void {
    this.#file.close();
  }

  #growth(offset: number, length: number): number {
    return Math.max(0, offset + length - this.#file.size);
  }

  #admitChange(): void {
    if (this.#writesLost) throw lostWrites(this.#path);
  }

  #full(operation: RefusedCall): Fault {
    return fileFault('ENOSPC', { operation, path: this.#path });
  }
}
